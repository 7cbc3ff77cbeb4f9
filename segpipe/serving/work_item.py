"""A series on its way to its answer: the states that it can be in, and what leads from one to another."""

from dataclasses import dataclass, field, replace
from typing import Any

OPEN = ("arriving", "queued", "working")
STATES = (*OPEN, "done", "refused", "failed")
UNSEEN = -1
"""Stands for the number of instances of a series that any listing makes look at again."""
MOST_DEATHS = 5


@dataclass(frozen=True)
class WorkItem:
    """One series; its UIDs and the names of its instances never appear in a repr.

    Whatever is new of a series opens it again, in every state. What ends a piece of work on it is given the item
    that was taken: if the series has grown since, it goes on its way again instead.

    Args:
        study_uid: Of its study.
        series_uid: Its own.
        since: When it last changed, in the queue's time.
        state: One of `STATES`.
        due: A queued one is not taken before.
        listed: How many instances the PACS has said that it has; None if it has said nothing.
        counted: How many there were when the PACS was asked for each one.
        settled: Of how many instances the last answer or refusal was.
        answered: Names of the instances that the last answer speaks of.
        growths: How often something new was seen of it.
        tries: How often work on it was begun, since it last grew.
        faults: How often the PACS failed at it.
        surprises: How often nobody knows why it failed; the worker's death in its work is one.
        message: Why it was refused, has failed or waits.
    """

    study_uid: str = field(repr=False)
    series_uid: str = field(repr=False)
    since: float
    state: str = "arriving"
    due: float = 0.0
    listed: int | None = None
    counted: int | None = None
    settled: int = 0
    answered: frozenset[str] = field(default=frozenset(), repr=False)
    growths: int = 0
    tries: int = 0
    faults: int = 0
    surprises: int = 0
    message: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it still waits for an answer."""
        return self.state in OPEN

    def grown(self, now: float) -> "WorkItem":
        """Something new was seen of it: it waits from now on until it is whole; what is in work goes on meanwhile."""
        state = "working" if self.state == "working" else "arriving"
        fresh = replace(self, state=state, since=now, due=0.0, growths=self.growths + 1)
        return replace(fresh, tries=0, faults=0, surprises=0, message="")

    def seen(self, instances: int | None, now: float) -> "WorkItem":
        """The PACS lists it with so many instances, or without a number."""
        if instances == self.listed or (instances is None and self.listed != UNSEEN):
            return self
        known = self.grown(now) if self._is_news(instances) else self
        return replace(known, listed=instances)

    def agrees(self, instances: int) -> bool:
        """Whether so many instances, asked for one by one, are those that were listed, or counted before.

        A PACS may give no number, or one that counts otherwise; then two counts in a row must agree.
        """
        return instances in (self.listed or 0, self.counted)

    def recounted(self, taken: "WorkItem", instances: int, now: float) -> "WorkItem":
        """There were more or fewer instances than listed: it is not whole yet."""
        return replace(self._ended(taken, state="arriving"), counted=instances, since=now)

    def promoted(self, *, polled: float, stable_s: float, now: float) -> "WorkItem":
        """Queued, if the PACS was polled at least `stable_s` seconds after it last changed."""
        whole = self.state == "arriving" and self.since + stable_s <= polled
        return replace(self, state="queued", due=now) if whole else self

    def taken(self) -> "WorkItem":
        """Work on it begins."""
        return replace(self, state="working", tries=self.tries + 1)

    def put_back(self) -> "WorkItem":
        """Work on it ended through no fault of its own; it is queued again by the next poll, unless it has grown."""
        return replace(self, state="arriving") if self.state == "working" else self

    def resumed(self, now: float) -> "WorkItem":
        """A worker starts: every wait begins anew, since nobody knows how long there was none, nor by which clock.

        A series in whose work the worker has died five times is given up: it may be what kills it.
        """
        if self.state == "arriving":
            return replace(self, since=now)
        if self.state != "working":
            return replace(self, due=min(self.due, now), since=min(self.since, now))
        died = replace(self, since=now, surprises=self.surprises + 1)
        if died.surprises < MOST_DEATHS:
            return replace(died, state="arriving")
        return replace(died, state="failed", message="the worker died of it")

    def finished(self, taken: "WorkItem", names: frozenset[str]) -> "WorkItem":
        """The answer to these instances is in the PACS."""
        return replace(self._ended(taken, state="done", message=""), answered=names, settled=len(names))

    def refused(self, taken: "WorkItem", message: str, *, instances: int, now: float) -> "WorkItem":
        """What there is of it, so many instances, cannot be answered."""
        return self._ended(taken, state="refused", message=message, settled=instances, since=now)

    def failed(self, taken: "WorkItem", message: str, now: float) -> "WorkItem":
        """It should have been answered and could not be."""
        return self._ended(taken, state="failed", message=message, since=now)

    def postponed(self, taken: "WorkItem", message: str, *, due: float) -> "WorkItem":
        """It waits for another try, with the faults and surprises that were counted."""
        counted = {"faults": taken.faults, "surprises": taken.surprises}
        return self._ended(taken, state="queued", message=message, due=due, **counted)

    def _ended(self, taken: "WorkItem", **changes: Any) -> "WorkItem":
        """What becomes of it, unless it has grown since it was taken."""
        return replace(self, **(changes if self.growths == taken.growths else {"state": "arriving"}))

    def _is_news(self, instances: int | None) -> bool:
        """Whether a number of instances other than before says that there may be some that nobody has looked at."""
        if self.is_open or self.listed == UNSEEN or instances is None:
            return True
        if self.state == "done":  # the first version did not note which instances it had answered
            return bool(self.answered) or instances > self.settled
        return instances != self.settled
