"""A checkpoint that one version of PyTorch saves and another one loads; call it with the Python of each:

    PYTHON_OF_2_15 checkpoint_between_versions.py save DIR
    PYTHON_OF_2_14 checkpoint_between_versions.py load DIR
"""

import sys

import torch
import torch.distributed.checkpoint as checkpoint

SAVED = {"weight": torch.arange(6.0).reshape(2, 3), "step": 3}


def main(action: str, folder: str) -> str:
    """Exit code 1 when what is loaded cannot be read, or is something else than what was saved."""
    if action == "save":
        checkpoint.save(SAVED, checkpoint_id=folder, no_dist=True)
        return ""
    state = {"weight": torch.zeros(2, 3), "step": 0}
    try:
        checkpoint.load(state, checkpoint_id=folder, no_dist=True)
    except checkpoint.CheckpointException as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"
    same = torch.equal(state["weight"], SAVED["weight"]) and state["step"] == SAVED["step"]
    return "" if same else f"loaded {state}"


if __name__ == "__main__":
    problem = main(*sys.argv[1:])
    print(f"PyTorch {torch.__version__}, {sys.argv[1]}: {problem or 'done'}")
    sys.exit(1 if problem else 0)
