"""What `pylon-workflows doctor` finds about a database file, which it reads and never writes."""

from pylon_workflows.doctor.examination import examine
from pylon_workflows.doctor.findings import Finding, Report, Verdict

__all__ = ["Finding", "Report", "Verdict", "examine"]
