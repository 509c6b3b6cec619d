"""What a run will write at its very end must find its place free, so this is asked at the beginning."""

from pathlib import Path

from mobinas.pipeline.front import STUDY
from mobinas.pipeline.front_file import FRONT_FILE, check_front_place
from mobinas.pipeline.profile import MEASUREMENTS
from mobinas.pipeline.report import REPORT_FILE
from mobinas.report.html import check_report_place
from mobinas.search.journal import STUDY_NAME, check_journal
from predictors.measure import check_log


def check_places(folder: Path) -> None:
    """Refuses a run folder where something else has the name of a late result.

    Args:
        folder: The run folder, whose job is known to be ours.

    Raises:
        RunFolderError: A table or a page that no run wrote.
        SearchError: A journal of another program.
        MeasurementError: Another log.
    """
    check_front_place(folder / FRONT_FILE)
    check_report_place(folder / REPORT_FILE)
    check_journal(folder / STUDY, STUDY_NAME)
    check_log(folder / MEASUREMENTS)
