"""What is taken from a partner at most: far more than a chest CT, far less than a machine can hold."""

INSTANCE_BYTES = 2**30
"""Of one instance: an enhanced CT of 2000 slices of 512 × 512 pixels."""
HEAD_BYTES = 2**20
"""Of an instance within which its UIDs must be."""
SERIES_INSTANCES, SERIES_BYTES = 20_000, 2**34
"""Of one series, and all its instances together."""
SEARCH_ENTRIES, SEARCH_BYTES = 200_000, 2**30
"""What a search may list, over all pages, and the text of one page."""
ENTRY_CHARACTERS = 2**20
"""Of one entry in a list."""
ANSWER_BYTES = 2**20
"""Of what is read as a whole: the answer to a result that is stored."""
ANSWER_HEAD_S, ANSWER_S = 120.0, 3600.0
"""Until the head of an answer is there, and until all of it is, however steadily it trickles."""

ASSOCIATIONS = 8
"""Of one address at a time; connections that have asked for nothing yet give way to new ones."""
PDU_BYTES, PDU_S = 2**18, 30.0
"""Of one PDU: what is sent is cut into PDUs of 16 KiB, and a request with every context there may be has 200 KiB."""
SLACK_BYTES = 2**20
"""Of commands and heads of PDUs that come with an instance."""
REQUEST_S, IDLE_S = 10.0, 60.0
"""Until an association is asked for, and between any two PDUs of it."""
ASSOCIATION_INSTANCES, ASSOCIATION_BYTES = 100_000, 2**36
"""That come by one association."""


class TooMuchError(ValueError):
    """A partner gives more than a limit; its text names the limit and nothing of what was given."""
