"""The kernel gives up what nobody takes."""

from __future__ import annotations

import socket

from aixgo_operator.kube import transport
from aixgo_operator.kube.lease import LeaseTimes


def test_data_without_acknowledgement_is_given_up_before_another_leads() -> None:
    times = LeaseTimes()
    assert 1000 * (times.duration - times.renew_deadline) >= transport.UNACKNOWLEDGED_MS
    with transport._socket((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("", 0))) as made:
        kept = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert kept == transport.UNACKNOWLEDGED_MS
