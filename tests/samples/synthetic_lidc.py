"""Makes readings in the form of LIDC-IDRI's XML files."""


def edges(points):
    return "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in points)


def roi(points, z, inclusion=True, uid="1.2.3"):
    return (
        f"<roi><imageZposition>{z}</imageZposition><imageSOP_UID>{uid}</imageSOP_UID>"
        f"<inclusion>{'TRUE' if inclusion else 'FALSE'}</inclusion>{edges(points)}</roi>"
    )


def nodule(*rois, rated=""):
    return f"<unblindedReadNodule><noduleID>7</noduleID>{rated}{''.join(rois)}</unblindedReadNodule>"


def ratings(**values):
    return f"<characteristics>{''.join(f'<{k}>{v}</{k}>' for k, v in values.items())}</characteristics>"


def message(series_uid, *sessions):
    body = "".join(
        f"<readingSession><servicingRadiologistID>anon</servicingRadiologistID>{''.join(session)}</readingSession>"
        for session in sessions
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><LidcReadMessage uid="1.3" xmlns="http://www.nih.gov">'
        f"<ResponseHeader><SeriesInstanceUid>{series_uid}</SeriesInstanceUid></ResponseHeader>{body}</LidcReadMessage>"
    )


def square(low, high):
    """The outline of a square, point by point."""
    side = range(low, high)
    return (
        [(x, low) for x in side]
        + [(high, y) for y in side]
        + [(high - i, high) for i in range(high - low)]
        + [(low, high - i) for i in range(high - low)]
    )
