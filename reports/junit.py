"""JUnit XML of a gate: a case for the verdict and one for each finding, none of them at odds with the verdict."""

from pathlib import Path
from xml.etree import ElementTree

from reports.files import write_text
from reports.gate import GateReport, JudgedFinding
from reports.text import visible_text

_LONGEST = 2000  # characters of a message
_ELEMENT_OF_OUTCOME = {"pass": None, "fail": "failure", "untrusted": "error"}


def junit_xml(report: GateReport, show_prompts: bool) -> str:
    """Render a report; findings that break a limit fail, waived and known ones are skipped, allowed ones pass."""
    verdict = ElementTree.Element("testcase", name="verdict", classname="engram.gate")
    outcome = _ELEMENT_OF_OUTCOME[report.verdict.outcome]
    if outcome:
        _say(verdict, outcome, report.verdict.outcome, report.verdict.reasons)
    ElementTree.SubElement(verdict, "system-out").text = "\n".join(
        visible_text(line, _LONGEST) for line in (*report.verdict.reasons, *report.notes)
    )
    findings = [_finding_case(judged, show_prompts) for judged in report.judged]
    suites = ElementTree.Element("testsuites", name="engram gate")
    for name, cases in (("engram.gate", [verdict]), ("engram.findings", findings)):
        suite = ElementTree.SubElement(suites, "testsuite", {"name": name, **_counts(cases)})
        suite.append(_properties(report))
        suite.extend(cases)
    for key, value in _counts([verdict, *findings]).items():
        suites.set(key, value)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=False) + "\n"


def write_junit(path: Path, report: GateReport, show_prompts: bool) -> None:
    """Write `junit_xml`, whole or not at all."""
    write_text(path, '<?xml version="1.0" encoding="UTF-8"?>\n' + junit_xml(report, show_prompts))


def _finding_case(judged: JudgedFinding, show_prompts: bool) -> ElementTree.Element:
    finding = judged.finding
    name = f"{finding.place} [{finding.fingerprint}]"
    case = ElementTree.Element("testcase", name=name, classname=f"engram.findings.{finding.kind}")
    said = finding.headline(show_prompts)
    if judged.waiver:
        waiver = judged.waiver
        reason = f"waived by {waiver.owner} until {waiver.expires}: {waiver.reason}"
        _say(case, "skipped", "waived", (said, reason))
    elif judged.standing == "known":
        _say(case, "skipped", "known", (said, f"in the baseline already ({judged.change})"))
    elif judged.standing == "breaks":
        _say(case, "failure", finding.severity, (said,))
    else:
        ElementTree.SubElement(case, "system-out").text = f"{visible_text(said, _LONGEST)}; within the policy's limits"
    return case


def _say(case: ElementTree.Element, element: str, kind: str, lines: tuple[str, ...]) -> None:
    texts = [visible_text(line, _LONGEST) for line in lines]
    said = ElementTree.SubElement(case, element, message=texts[0], type=kind)
    said.text = "\n".join(texts)


def _counts(cases: list[ElementTree.Element]) -> dict[str, str]:
    elements = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    counted = {key: sum(case.find(element) is not None for case in cases) for key, element in elements.items()}
    return {key: str(n) for key, n in {"tests": len(cases), **counted}.items()}


def _properties(report: GateReport) -> ElementTree.Element:
    properties = ElementTree.Element("properties")
    values = {"outcome": report.verdict.outcome, "exit_code": str(report.verdict.exit_code)}
    if report.model:
        values |= {"model": report.model.name, "model_fingerprint": report.model.fingerprint}
    for name, value in values.items():
        ElementTree.SubElement(properties, "property", name=name, value=visible_text(value, 200))
    return properties
