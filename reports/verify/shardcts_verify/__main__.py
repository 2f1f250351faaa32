"""shardcts-verify BUNDLE: whether a bundle shows conformance.

Exit code: 0 it does, 1 it does not, 2 the command is wrong, 3 a fault of the verifier.
"""
import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from .findings import MEANINGS, Rejected
from .signature import check_signature
from .verify import Verified, verify


MOST_SHOWN = 20  # findings; --format json has all


def text_of(result: Verified, signed_by: str) -> str:
    lines = [str(finding) for finding in result.findings[:MOST_SHOWN]]
    if len(result.findings) > MOST_SHOWN:
        lines.append(f"and {len(result.findings) - MOST_SHOWN} more")
    if result.title:
        lines.append(f"{result.title}: {result.claim}")
    if result.sha256:
        lines.append(f"SHA-256 of the bundle: {result.sha256}")
    lines.append(f"signed by {signed_by}" if signed_by else "signature not checked (--allowed-signers and --signer)")
    if result.findings:
        return "\n".join([*lines, f"does not show conformance: {len(result.findings)} findings"])
    counts = ", ".join(f"{count} {name}" for name, count in sorted(result.counts.items()))
    lines.append(f"recomputed from the events: {counts}; mutants killed: {', '.join(result.canaries)}")
    lines += [f"patched for the run: {target}" for target in result.patches]
    lines += [f"waived: {name}" for name in result.waived]
    return "\n".join([*lines, "conforms" + (f", with {len(result.waived)} waived tests" if result.waived else "")])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="shardcts-verify", description="Recomputes what a bundle of shardcts certify claims.")
    parser.add_argument("bundle", type=Path, nargs="?", help="the file of shardcts certify")
    parser.add_argument("--allowed-signers", type=Path, help="who may sign, as ssh-keygen reads it")
    parser.add_argument("--signer", help="the one of them who must have signed")
    parser.add_argument("--signature", type=Path, help="default: BUNDLE.sig")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--explain", action="store_true", help="prints what each finding means, and ends")
    options = parser.parse_args(arguments)
    if options.explain:
        print("\n".join(f"{name}: {meaning}" for name, meaning in MEANINGS.items()))
        return 0
    if options.bundle is None or bool(options.allowed_signers) != bool(options.signer):
        parser.error("a bundle, and --allowed-signers together with --signer, are needed")
    result = verify(options.bundle)
    signed_by = ""
    if options.allowed_signers and result.sha256:
        try:
            signature = options.signature or options.bundle.with_name(options.bundle.name + ".sig")
            check_signature(options.bundle, result.sha256, signature, options.allowed_signers, options.signer)
            signed_by = options.signer
        except Rejected as rejected:
            result.findings += rejected.findings
    if options.format == "json":
        said = {key: value for key, value in vars(result).items() if key not in ("profile", "findings")}
        said["findings"] = [asdict(finding) for finding in result.findings]
        print(json.dumps(said | {"conforms": not result.findings, "signed_by": signed_by or None}, indent=1))
    else:
        print(text_of(result, signed_by))
    return 1 if result.findings else 0


def run() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:  # a fault of the verifier says nothing about the bundle
        print(f"internal error: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(3)


if __name__ == "__main__":
    run()
