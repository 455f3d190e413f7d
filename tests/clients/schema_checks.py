"""A check of tests/openapi.rs in place of schemathesis' own positive_data_acceptance: what the schema allows is not refused
for its form. That a token is another customer's, or a prefix is taken, no schema can tell: that is 422 `unusable`."""
import schemathesis


@schemathesis.check
def form_acceptance(ctx, response, case):
    meta = case.meta
    if meta is None or not meta.generation.mode.is_positive or response.status_code not in (400, 413, 415, 422):
        return
    problem = response.json()
    if problem["code"] != "unusable":
        raise AssertionError(f"the schema allows it, and it was refused for its form: {problem['detail']}")
