"""Detached signatures of bundles, made and checked by OpenSSH's ssh-keygen."""
import hashlib
import subprocess
from pathlib import Path

from .findings import reject

NAMESPACE = "shardcts-bundle"


def check_signature(bundle: Path, sha256: str, signature: Path, allowed_signers: Path, signer: str) -> None:
    """Raises Rejected unless `signer` of the file `allowed_signers` (man ssh-keygen) has signed the bytes that have this
    SHA-256, which are those that were verified."""
    data = bundle.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        reject("signature.bad", str(bundle), "changed while it was verified")
    if not signature.is_file():
        reject("signature.missing", str(signature), "is not there")
    command = ["ssh-keygen", "-Y", "verify", "-f", str(allowed_signers), "-I", signer, "-n", NAMESPACE, "-s", str(signature)]
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)
    except FileNotFoundError:
        reject("signature.tool", "ssh-keygen", "is not installed (Debian's openssh-client)")
    except subprocess.TimeoutExpired:
        reject("signature.bad", str(signature), "ssh-keygen did not end within a minute")
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        reject("signature.bad", str(signature), said or f"exit code {done.returncode}")


def sign(bundle: Path, key: Path) -> Path:
    """Writes BUNDLE.sig. Raises RuntimeError with what ssh-keygen said."""
    signature = bundle.with_name(bundle.name + ".sig")
    signature.unlink(missing_ok=True)
    done = subprocess.run(["ssh-keygen", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(bundle)], capture_output=True,
                          text=True, timeout=300, check=False)
    if done.returncode != 0 or not signature.exists():
        raise RuntimeError(f"ssh-keygen -Y sign: {done.stderr.strip() or done.returncode}")
    return signature
