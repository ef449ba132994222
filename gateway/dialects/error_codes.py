"""What vendors' error codes mean as an HTTP status, where the status that they answered with does not say it.

One table for each numbering: equal numbers mean different things at different vendors. A row may be added freely; a
code that is in no table means 502.
"""

from __future__ import annotations

from typing import NamedTuple


class Numbering(NamedTuple):
    """One vendor's numbers (as text) -> statuses, and those that say: it was the content."""

    statuses: dict[str, int]
    content: frozenset[str] = frozenset()


def _statuses(rows: dict[int, str]) -> dict[str, int]:
    return {code: status for status, codes in rows.items() for code in codes.split()}


def _numbering(rows: dict[int, str], content: str = "") -> Numbering:
    return Numbering(_statuses(rows), frozenset(content.split()))


NO_NUMBERS = Numbering({})
MINIMAX = _numbering({
    400: "1026 1027 1042 2013",
    401: "1004 2049",
    402: "1008",
    429: "1002 1039 1041 2045 2056",
    504: "1001",
}, "1026 1027")  # fmt: skip
SPARK = _numbering({
    400: "10003 10004 10005 10013 10014 10019 10163 10907",
    401: "10313",
    403: "10015 10016 11200",
    429: "10006 10007 11201 11202 11203",
    500: "10012",
    503: "10008 10009 10010 10011 10110",
}, "10013 10014 10019")  # fmt: skip
SILICONFLOW = _numbering({
    400: "20012 20015 20050",
    401: "20001",
    402: "30001",
    403: "20003",
    404: "20004",
    429: "20006 20007",
    500: "50000",
    503: "50505",
    504: "50504",
}, "20050")  # fmt: skip
ZHIPU = _numbering({
    400: "1210 1212 1213 1214 1215 1261 1300 1301",
    401: "1000 1001 1002 1003 1004 1110 1111 1112",
    402: "1113 1309",
    403: "1220",
    404: "1211 1221 1222",
    429: "1302 1303 1304 1305 1308 1310 1313",
    500: "1120 1230",
    503: "1234 1312",
}, "1301")  # fmt: skip
QIANFAN_V1 = _numbering({
    400: "336001 336002 336003 336006 336007 336103 336104 336105",
    401: "13 14 100 110 111",
    403: "6",
    429: "4 17 18 19 336501 336502 336503",
    500: "336000",
    503: "2 336100",
})  # fmt: skip

# Words, in lower case: OpenAI's, Anthropic's and Google's types and statuses, the others' codes up to the first dot.
NAMES = _statuses({
    400: """invalid_request_error bad_request_error invalid_argument failed_precondition badrequest bad_request
        invalidparameter invalid_parameter_error invalidrequest context_length_exceeded invalid_prompt
        content_filter content_policy_violation datainspectionfailed data_inspection_failed""",
    401: """authentication_error invalid_authentication_error authorized_error invalid_api_key invalidapikey
        invalid_iam_token unauthenticated authenticationerror authfailure incorrect_api_key_error""",
    402: """billing_error insufficient_quota insufficient_balance exceeded_current_quota_error arrearage
        prepaidbilloverdue postpaidbilloverdue commoditynotpurchased accountoverdueerror
        resourceunavailable.inarrears""",
    403: """permission_error permission_denied permission_denied_error accessdenied access_denied forbidden
        unauthorizedoperation operationdenied""",
    404: """not_found_error not_found notfound model_not_found modelnotfound resource_not_found_error resourcenotfound
        invalidendpointormodel""",
    413: "request_too_large",
    429: """rate_limit_error rate_limit_exceeded rate_limit_reached_error ratelimitexceeded ratelimit
        resource_exhausted throttling requestlimitexceeded limitexceeded limit_requests too_many_requests
        engine_overloaded_error serveroverloaded quotaexceeded""",
    500: """server_error api_error internal internal_error internalerror internalservererror internalserviceerror
        internal_server_error systemerror failedoperation""",
    503: """unavailable overloaded service_unavailable service_unavailable_error serviceunavailable modelunavailable
        resourceunavailable resourceinsufficient""",
    504: "timeout_error deadline_exceeded requesttimeout request_timeout",
    529: "overloaded_error",
})  # fmt: skip

# Codes and types that say: it was the content.
FILTERED = frozenset(
    """content_filter content_policy_violation datainspectionfailed data_inspection_failed moderation_blocked
    responsibleaipolicyviolation""".split()
)


def status_of(code: str | None, numbering: Numbering) -> int | None:
    """The status that a code stands for; None for one that is not known."""
    if not code:
        return None
    if found := numbering.statuses.get(code):
        return found
    code = code.lower()
    return NAMES.get(code) or NAMES.get(code.partition(".")[0])


def about_content(code: str | None, numbering: Numbering) -> bool:
    """Whether a code says that the content was refused."""
    if not code:
        return False
    lower = code.lower()
    return code in numbering.content or lower in FILTERED or "sensitivecontent" in lower
