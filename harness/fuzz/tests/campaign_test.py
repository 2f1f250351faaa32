"""How long a campaign makes programs; no implementation runs."""

import sys
import time

from shardcts_fuzz import campaign as module
from shardcts_fuzz.campaign import Campaign
from shardcts_fuzz.pools import OutOfTime, Pools


class Slow:
    """Pools that need a tenth of a second for a program, by a clock of their own."""

    def __init__(self, monkeypatch):
        self.now, self.sizes = 100.0, []
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)

    def run(self, programs, _, end):
        self.sizes.append(len(programs))
        self.now += 0.1 * len(programs)
        if self.now > end:
            self.now = end
            raise OutOfTime
        return [{} for _ in programs], "nowhere"


def run(monkeypatch, seconds):
    pools = Slow(monkeypatch)
    campaign = Campaign(pools, ["reference"], 1, [1], None, {})
    campaign._one = lambda program, runs: setattr(campaign.counts, "programs", campaign.counts.programs + 1)
    campaign.go(0, None, seconds)
    return campaign, pools


def test_the_last_batch_has_as_many_programs_as_there_is_time_for(monkeypatch):
    campaign, pools = run(monkeypatch, 20.0)
    assert pools.sizes == [30, 60, 110] and campaign.next_program == campaign.counts.programs == 200


def test_a_batch_that_is_late_is_stopped_and_not_counted(monkeypatch):
    campaign, pools = run(monkeypatch, 0.5)
    assert (pools.sizes, campaign.next_program, campaign.counts.programs) == ([1, 2, 2], 5, 5)
    monkeypatch.setattr(module, "GRACE", -0.2)
    campaign, pools = run(monkeypatch, 0.5)
    assert (pools.sizes, campaign.next_program, campaign.counts.programs) == ([1, 2, 2], 3, 3)


def test_a_command_ends_when_its_time_has_come():
    begin = time.monotonic()
    assert Pools(None, None, None, None)._ended([sys.executable, "-c", "import time; time.sleep(60)"], begin + 0.2) is None
    assert time.monotonic() - begin < 30
    assert Pools(None, None, None, None)._ended([sys.executable, "-c", "print(1)"], None).stdout == "1\n"
