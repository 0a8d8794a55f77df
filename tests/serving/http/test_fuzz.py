"""Whatever is sent, a client's fault is told as one."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.http.conftest import Loopback

FIELDS = (
    "inputs query texts truncate truncation_direction raw_scores return_text parameters top_k function_to_apply".split()
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(["left", "Right", "sigmoid", "\ud800", "", "good film"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)
BODIES = (
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5).map(lambda value: json.dumps(value).encode())
    | VALUES.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=60)
)


@pytest.mark.parametrize("path", ["/predict", "/rerank", "/", "/models/reviews"])
def test_no_body_breaks_it(server: Loopback, path: str) -> None:
    @settings(max_examples=120, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(BODIES)
    def send(body: bytes) -> None:
        answer = server.client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (200, 400, 422, 424), (body, answer.text)
        if answer.status_code != 200:
            assert set(answer.json()) == {"error", "error_type"} and "\n" not in answer.json()["error"]

    send()
    assert server.predict("good film").status_code == 200
