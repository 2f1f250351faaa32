"""Reads what ranks recorded of a program: the outcome of each step on each rank (docs/formats.md, traces)."""

import base64
import json
import os

from shardcts_fuzz.programs import names_in

SKIPPED = {"skipped": True}  # the step uses a result that is not there


class Recording:
    def __init__(self, folder, program, is_cut_as_pytorch=True):
        self.is_cut_as_pytorch = is_cut_as_pytorch  # the capability layout.pytorch
        self._blobs = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(folder))), "blobs")
        self.ranks = [self._rank(os.path.join(folder, f"rank-{rank}.jsonl"), program) for rank in range(program.world)]

    def outcomes(self, let):
        """Of every rank: {"value": …}, {"error": {kind, message}}, SKIPPED, or None where the rank did not come so far."""
        return [rank.get(let) for rank in self.ranks]

    def _rank(self, path, program):
        lines = self._lines(path)
        outcomes, failed, position = {}, set(), 0
        for step in program.steps():
            line = lines[position] if position < len(lines) else None
            if names_in(step.args) & failed or (line and line["op"] != step.op):
                outcomes[step.let] = SKIPPED
                failed.add(step.let)
                continue
            if line is None:
                break
            outcomes[step.let] = line.get("outcome")
            if "value" not in (line.get("outcome") or {}):
                failed.add(step.let)
            position += 1
        return outcomes

    def _lines(self, path):
        try:
            with open(path, encoding="utf-8") as file:
                texts = file.read().splitlines()[1:]
        except OSError:
            return []
        lines = []
        for text in texts:
            try:
                lines.append(json.loads(text))
            except ValueError:  # the last line of a rank that crashed
                break
        return [line for line in lines if "op" in line]

    def expand(self, value):
        """The value, or the one in its blob."""
        if isinstance(value, dict) and set(value) == {"$blob", "tensors"}:
            with open(os.path.join(self._blobs, value["$blob"]), encoding="utf-8") as file:
                return json.load(file)
        return value

    def bytes_of(self, tensor):
        """None where they were not kept."""
        if "data" in tensor:
            return base64.b64decode(tensor["data"])
        try:
            with open(os.path.join(self._blobs, tensor["digest"]), "rb") as file:
                return file.read()
        except (OSError, KeyError):
            return None
