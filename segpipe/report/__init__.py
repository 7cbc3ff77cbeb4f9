"""Reports: figures and pages that show a colleague what a run or a comparison found."""
