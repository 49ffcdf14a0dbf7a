"""The first three sections of the report: what a reader must know, complete without any script."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Final

from scichain_wf.audit.entry import Severity
from scichain_wf.audit.result import Finding, Head, Result, Verdict
from scichain_wf.model.text import digest_text
from scichain_wf.report.markup import Html, code, count, el, facts, join, when

_FINDINGS_OF_A_KIND_MAX: Final = 20
_SIGNS: Final = {
    Verdict.VERIFIED: ("good", "✓"), Verdict.WARNINGS: ("odd", "!"), Verdict.FAILED: ("bad", "✕"),
    Verdict.INCOMPLETE: ("open", "?"),
}  # fmt: skip
_SEVERITIES: Final = {
    Severity.ERROR: ("bad", "Something is not what was committed"),
    Severity.UNCHECKED: ("open", "Could not be checked, which is not a pass"),
    Severity.WARNING: ("odd", "Nothing is altered, but a reader should know"),
    Severity.INFO: ("note", "For information"),
}


def verdict(result: Result, version: str, made_us: int) -> Html:
    """Section 1: the verdict in one sentence, and what it is about."""
    kind, sign = _SIGNS[result.verdict]
    counts, head = result.counts, result.head
    judged = counts.get("transactions-quorum", 0) + counts.get("transactions-poet", 0)
    quorum = f"{100 * counts.get('transactions-quorum', 0) / judged:.1f} % of {count(judged)} records" if judged else ""
    by_file = ", ".join(
        f"{count(number)} {name.removeprefix('files-')}"
        for name, number in sorted(counts.items())
        if name.startswith("files-")
    )
    severities = Counter(finding.severity for finding in result.findings)
    found = ", ".join(f"{count(severities[severity])} {severity}" for severity in Severity if severities[severity])
    banner = el(
        "div",
        el("span", sign, cls="sign", aria_hidden="true"),
        el("div", el("p", result.verdict, cls="word"), el("p", result.sentence().partition(": ")[2], cls="sentence")),
        cls=f"banner {kind}",
        role="status",
    )
    return join(
        (
            banner,
            facts(
                (
                    ("Chain", code(digest_text(result.chain)) if result.chain else ""),
                    ("Newest link", join((f"{head.size - 1} ", code(digest_text(head.link)))) if head else ""),
                    ("Root of all links", code(digest_text(head.root)) if head else ""),
                    (
                        "Signed checkpoint",
                        f"covers {count(head.checkpoint_size)} of {count(head.size)} links{_cosigned(head)}"
                        if head and head.checkpoint_size is not None
                        else "none",
                    ),
                    ("Agreed by a quorum", quorum),
                    (
                        "Counted",
                        ", ".join(
                            f"{count(counts[name])} {name}"
                            for name in ("links", "transactions", "tasks", "contested", "unresolved")
                            if name in counts
                        ),
                    ),
                    ("Files", by_file),
                    ("Findings", found or "none"),
                    ("Made", f"{when(made_us)}, scichain-wf {version}"),
                )
            ),
        )
    )


def _cosigned(head: Head) -> str:
    """Who signed the checkpoint besides the storage node, in words."""
    if not head.cosigned:
        return "; no validator has cosigned it"
    return f"; cosigned by slot{'s' * (len(head.cosigned) > 1)} {', '.join(map(str, head.cosigned))}"


def checked(result: Result) -> Html:
    """Section 2: what was checked and what was not, and whom one must trust for it to mean anything."""
    return join(
        (
            el(
                "div",
                el("div", el("h3", "Checked"), el("ul", *(el("li", item) for item in result.checked), cls="ticks")),
                el(
                    "div",
                    el("h3", "Not checked"),
                    el("ul", *(el("li", item) for item in result.unchecked), cls="gaps"),
                    el("h3", "Who must have been honest"),
                    el("ul", *(el("li", item) for item in result.trust)),
                ),
                cls="two",
            ),
        )
    )


def findings(result: Result) -> Html:
    """Section 3: the worst first, some of each kind."""
    if not result.findings:
        return el("p", "None.")
    parts: list[Html] = []
    for severity, (kind, said) in _SEVERITIES.items():
        by_id: defaultdict[str, list[Finding]] = defaultdict(list)
        for finding in result.findings:
            if finding.severity is severity:
                by_id[finding.id].append(finding)
        if by_id:
            parts.append(el("h3", el("span", severity.value, cls=f"tag {kind}"), f" {said}"))
        for number, found in by_id.items():
            parts += [_finding(finding, kind) for finding in found[:_FINDINGS_OF_A_KIND_MAX]]
            more = len(found) - _FINDINGS_OF_A_KIND_MAX + result.dropped.get(number, 0)
            if more > 0:
                parts.append(
                    el("p", f"and {count(more)} more of {number} (scichain-wf audit --json has them)", cls="more")
                )
    return join(parts)


def _finding(finding: Finding, kind: str) -> Html:
    place = (
        ""
        if finding.height is None
        else f"link {finding.height}" + ("" if finding.index is None else f", transaction {finding.index}")
    )
    blast = ""
    if finding.blast_count:
        more = finding.blast_count - len(finding.blast)
        named = el(
            "ul", *(el("li", code(uri)) for uri in finding.blast), el("li", f"and {count(more)} more") if more else ""
        )
        blast = el("details", el("summary", f"{count(finding.blast_count)} artifacts were made from it"), named)
    return el(
        "article",
        el("p", el("span", finding.id, cls=f"tag {kind}"), el("strong", f" {finding.title}")),
        el("p", code(finding.subject), cls="subject"),
        facts(
            (
                ("Expected", code(finding.expected) if finding.expected else ""),
                ("Found", code(finding.actual) if finding.actual else ""),
                ("Evidence", place),
                ("Meaning", finding.meaning),
                ("What to do", finding.remedy),
                ("Affects", blast),
            )
        ),
        cls=f"finding {kind}",
    )
