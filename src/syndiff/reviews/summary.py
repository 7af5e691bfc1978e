"""What stands in a file of reviews, in words."""

from collections import Counter
from collections.abc import Sequence

from syndiff.reviews.agreement import Agreement, HitRate, agreement, hit_rates
from syndiff.reviews.events import Event
from syndiff.reviews.state import CaseReview, count_states, fold


def summary(events: Sequence[Event]) -> str:
    """Counts by dataset, reasons, ratings, agreement and the results of blind tests, as lines of text.

    Reviewers' agreement is taken over all cases of the file.
    """
    reviews = list(fold(events).values())
    if not reviews:
        return f"{len(events)} events, and no review that counts"
    reviewers = sorted({each.reviewer for case in reviews for each in case.opinions})
    lines = [f"{len(events)} events by {len(reviewers)} reviewer(s): {', '.join(reviewers)}"]
    for name in sorted({case.name for case in reviews}):
        of_name = [case for case in reviews if case.name == name]
        told = ", ".join(f"{count} {state}" for state, count in count_states(of_name).items())
        lines.append(f"{name}: {len(of_name)} cases, {told}{_rated(of_name)}")
    reasons = Counter(each.reason for case in reviews for each in case.opinions if each.decision == "reject")
    if reasons:
        lines.append("rejected as " + ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common()))
    found = agreement(reviews)
    return "\n".join([*lines, *([_agreed(found)] if found else []), *map(_hit, hit_rates(reviews))])


def _rated(reviews: Sequence[CaseReview]) -> str:
    ratings = [case.rating for case in reviews if case.rating is not None]
    return f"; realism {sum(ratings) / len(ratings):.2f} of 5 over {len(ratings)} cases" if ratings else ""


def _agreed(found: Agreement) -> str:
    kappa, who = found.kappa, f"{found.method} kappa of {', '.join(found.reviewers)}"
    if kappa.mean is None:
        return f"{who}: not defined over {kappa.cases} cases ({found.why})"
    interval = "" if kappa.low is None else f" ({kappa.low:.2f} to {kappa.high:.2f})"
    note = f"; {kappa.note}" if kappa.note else ""
    return f"{who}: {kappa.mean:.2f}{interval} over {kappa.cases} cases that all decided on{note}"


def _hit(found: HitRate) -> str:
    return (
        f"blind test of {found.reviewer}: {found.right} of {found.answers} right, {found.share:.0%} "
        f"({found.low:.0%} to {found.high:.0%})"
    )
