"""JUnit XML of a gate: one case for the verdict and one per finding, none of which contradicts the verdict."""

from pathlib import Path
from xml.etree import ElementTree

from flashbulb.reports.gate.judgement import GateReport, JudgedFinding
from flashbulb.reports.tables.files import write_text
from flashbulb.reports.tables.verdict import EXIT_CODES
from flashbulb.reports.views.text import visible_text

_LONGEST = 2000  # characters of a message
_ELEMENT_OF_OUTCOME = {"pass": None, "inconclusive": "skipped", "fail": "failure", "untrusted": "error"}


def junit_xml(report: GateReport, show_prompts: bool) -> str:
    """Render a report. Findings that break a limit fail, waived and known ones are skipped, allowed ones pass.

    An inconclusive verdict is skipped, which is neither passed nor failed; an error if the gate was strict.
    """
    verdict = ElementTree.Element("testcase", name="verdict", classname="flashbulb.gate")
    element = _ELEMENT_OF_OUTCOME[report.verdict.outcome]
    if element:
        element = "error" if report.verdict.exit_code == EXIT_CODES["untrusted"] else element
        _add_result(verdict, element, report.verdict.outcome, report.verdict.reasons)
    ElementTree.SubElement(verdict, "system-out").text = "\n".join(
        visible_text(line, _LONGEST) for line in (*report.verdict.reasons, *report.notes)
    )
    findings = [_finding_case(judged, show_prompts) for judged in report.judged]
    suites = ElementTree.Element("testsuites", name="flashbulb gate")
    for name, cases in (("flashbulb.gate", [verdict]), ("flashbulb.findings", findings)):
        suite = ElementTree.SubElement(suites, "testsuite", {"name": name, **_counts(cases)})
        suite.append(_properties(report))
        suite.extend(cases)
    for key, value in _counts([verdict, *findings]).items():
        suites.set(key, value)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=False) + "\n"


def write_junit(path: Path, report: GateReport, show_prompts: bool) -> None:
    """Write `junit_xml`, completely or not at all."""
    write_text(path, '<?xml version="1.0" encoding="UTF-8"?>\n' + junit_xml(report, show_prompts))


def _finding_case(judged: JudgedFinding, show_prompts: bool) -> ElementTree.Element:
    finding = judged.finding
    name = f"{finding.location} [{finding.fingerprint}]"
    case = ElementTree.Element("testcase", name=name, classname=f"flashbulb.findings.{finding.kind}")
    headline = finding.headline(show_prompts)
    if judged.waiver:
        waiver = judged.waiver
        reason = f"waived by {waiver.owner} until {waiver.expires}: {waiver.reason}"
        _add_result(case, "skipped", "waived", (headline, reason))
    elif judged.standing == "known":
        _add_result(case, "skipped", "known", (headline, f"already in the baseline ({judged.change})"))
    elif judged.standing == "breaks":
        _add_result(case, "failure", finding.severity, (headline,))
    else:
        text = f"{visible_text(headline, _LONGEST)}; within the policy's limits"
        ElementTree.SubElement(case, "system-out").text = text
    return case


def _add_result(case: ElementTree.Element, element: str, kind: str, lines: tuple[str, ...]) -> None:
    texts = [visible_text(line, _LONGEST) for line in lines]
    result = ElementTree.SubElement(case, element, message=texts[0], type=kind)
    result.text = "\n".join(texts)


def _counts(cases: list[ElementTree.Element]) -> dict[str, str]:
    elements = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    counts = {key: sum(case.find(element) is not None for case in cases) for key, element in elements.items()}
    return {key: str(n) for key, n in {"tests": len(cases), **counts}.items()}


def _properties(report: GateReport) -> ElementTree.Element:
    properties = ElementTree.Element("properties")
    values = {"outcome": report.verdict.outcome, "exit_code": str(report.verdict.exit_code)}
    if report.model:
        values |= {"model": report.model.name, "model_fingerprint": report.model.fingerprint}
    if report.seal:
        values["seal"] = f"sha256:{report.seal}"
    for name, value in values.items():
        ElementTree.SubElement(properties, "property", name=name, value=visible_text(value, 200))
    return properties
