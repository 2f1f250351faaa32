"""Reads what ranks recorded of a program: the outcome of each step on each rank (docs/formats.md, traces)."""

import base64
import json
import os

from shardcts_fuzz.programs import given_by, names_in, used_by

SKIPPED = {"skipped": True}  # the step uses a result that is not there


class Recording:
    def __init__(self, folder, program, is_cut_as_pytorch=True):
        self.is_cut_as_pytorch = is_cut_as_pytorch  # the capability layout.pytorch
        self._blobs = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(folder))), "blobs")
        self._phases, self._phase_of = [], {}
        for phase, (world, steps) in enumerate(program.phases()):
            place = os.path.join(folder, f"phase-{phase + 1}") if program.has_folder() else folder
            self._phases.append([self._rank(os.path.join(place, f"rank-{rank}.jsonl"), steps, rank == world - 1) for rank in range(world)])
            self._phase_of |= {step.let: phase for step in steps}

    def outcomes(self, let):
        """Of every rank of its phase: {"value": …}, {"error": {kind, message}}, SKIPPED, or None where the rank did not come
        so far."""
        return [rank.get(let) for rank in self._phases[self._phase_of[let]]]

    def pairs(self, first, second):
        """Of every rank the outcomes of both. A result of another phase, on other ranks, is its first rank's."""
        firsts, seconds = self.outcomes(first), self.outcomes(second)
        same = self._phase_of[first] == self._phase_of[second]
        return list(zip(firsts, seconds if same else seconds[:1] * len(firsts)))

    def _rank(self, path, steps, is_last):
        lines = self._lines(path)
        outcomes, failed, numbers, position = {}, set(), {}, 0
        for step in steps:
            line = lines[position] if position < len(lines) else None
            args = step.last_rank_args if is_last and step.last_rank_args else step.args
            if used_by(step) & failed or (line and not (line["op"] == step.op and _refers_to(line, args, numbers))):
                outcomes[step.let] = SKIPPED
                failed |= given_by(step)
                continue
            if line is None:
                break
            outcomes[step.let], numbers[step.let] = line.get("outcome"), line["step"]
            if "value" in (line.get("outcome") or {}):
                failed -= given_by(step)
            else:
                failed |= given_by(step)
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


def _refers_to(line, args, numbers):
    """Of two steps of one operation the first has no line where something in its arguments is not there. `numbers`: of the
    lines of earlier steps."""
    return set(_references(line["args"])) == {numbers[name] for name in names_in(args)}


def _references(value):
    if isinstance(value, dict) and "$ref" in value:
        yield value["$ref"][0]
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _references(item)
