"""A series on its way to its answer: the states that it can be in, and what leads from one to another."""

from dataclasses import dataclass, field, replace

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
        return replace(self._ended(taken, "arriving"), counted=instances, since=now)

    def promoted(self, *, polled: float, stable_s: float, now: float) -> "WorkItem":
        """Queued, if the PACS was polled at least `stable_s` seconds after it last changed."""
        whole = self.state == "arriving" and self.since + stable_s <= polled
        return replace(self, state="queued", due=now) if whole else self

    def taken(self) -> "WorkItem":
        """Work on it begins."""
        return replace(self, state="working", tries=self.tries + 1)

    def put_back(self, now: float) -> "WorkItem":
        """Work on it ended through no fault of its own."""
        return replace(self, state="queued", due=now) if self.state == "working" else self

    def resumed(self, now: float, *, delay_s: float) -> "WorkItem":
        """A worker starts: every wait begins anew, since nobody knows how long there was none, nor by which clock.

        A series in whose work the worker has died five times is given up: it may be what kills it.
        """
        if self.state == "arriving":
            return replace(self, since=now)
        if self.state != "working":
            return replace(self, due=min(self.due, now), since=min(self.since, now))
        died = replace(self, surprises=self.surprises + 1)
        if died.surprises >= MOST_DEATHS:
            return replace(died, state="failed", since=now, message="the worker died of it")
        return replace(died, state="queued", due=now + delay_s)

    def finished(self, taken: "WorkItem", names: frozenset[str]) -> "WorkItem":
        """The answer to these instances is in the PACS."""
        return replace(self._ended(taken, "done"), answered=names, settled=len(names), message="")

    def refused(self, taken: "WorkItem", message: str, *, instances: int, now: float) -> "WorkItem":
        """What there is of it, so many instances, cannot be answered."""
        return replace(self._ended(taken, "refused", now), settled=instances, message=message)

    def failed(self, taken: "WorkItem", message: str, now: float) -> "WorkItem":
        """It should have been answered and could not be."""
        return replace(self._ended(taken, "failed", now), message=message)

    def postponed(self, taken: "WorkItem", message: str, *, due: float, faults: int, surprises: int) -> "WorkItem":
        """It waits for another try."""
        waiting = self._ended(taken, "queued")
        return replace(waiting, message=message, due=due, faults=faults, surprises=surprises)

    def _ended(self, taken: "WorkItem", state: str, now: float | None = None) -> "WorkItem":
        if self.growths != taken.growths:
            return replace(self, state="arriving", message="")
        return replace(self, state=state, since=self.since if now is None else now)

    def _is_news(self, instances: int | None) -> bool:
        """Whether a number of instances other than before says that there may be some that nobody has looked at."""
        if self.is_open or self.listed == UNSEEN or instances is None:
            return True
        if self.state == "done":  # the first version did not note which instances it had answered
            return bool(self.answered) or instances > self.settled
        return instances != self.settled
