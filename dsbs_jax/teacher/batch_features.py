"""Learns from refused batches which fields of a request the server accepts.

A batch whose requests are all refused costs nothing but time. Its record keeps the
refusal, so that this run and later ones do not send the same fields again.
"""

from collections.abc import Mapping

from dsbs_jax.teacher.batch_api import Batch
from dsbs_jax.teacher.batch_records import BatchRecord, Body, Refusal
from dsbs_jax.teacher.batch_results import BatchResults
from dsbs_jax.teacher.failures import RequestFailure, RunFailure
from dsbs_jax.teacher.features import ServerFeatures


class BatchFeatures:
    """The changes that a server needs in the requests of the next batches.

    Attributes:
        error: Why no further batch can be answered, with our setting; or None.
    """

    def __init__(self, body: Body, url: str) -> None:
        """Starts with the assumption that the server accepts everything.

        Args:
            body: The body of one request, with all fields of the requests of this run.
            url: The server's address.
        """
        self._body, self._url = body, url
        self._features = ServerFeatures()
        self.error: str | None = None

    @property
    def changes(self) -> tuple[str, ...]:
        """The changes to each request, as `ServerFeatures.changes`."""
        return self._features.changes

    def adapt(self, body: Body) -> Body:
        """Returns a request's body with all changes."""
        return self._features.adapt(body)

    def restore(self, records: Mapping[str, BatchRecord]) -> None:
        """Learns again from the refusals of earlier runs by the same server.

        Args:
            records: The records by their paths, in the order of their batches.
        """
        for path, record in records.items():
            refusal = record.refusal
            if refusal and refusal.url == self._url:
                remedy = f"; without a change of settings, remove {path} to try again"
                self._learn_one(refusal, record.changes, remedy)

    def learn(
        self, record: BatchRecord, batch: Batch, results: BatchResults
    ) -> str | None:
        """Learns from a batch that has ended, and keeps a refusal in its record.

        Returns:
            The change to the following requests if the server has refused all requests
            of the batch for a field; otherwise None.
        """
        if results.replies:
            self._features.accept()
        if results.replies or results.unread:
            return None
        reasons = dict.fromkeys(batch.error_texts(), "") | results.refusals
        for reason, detail in reasons.items():
            refusal = Refusal(self._url, reason, detail)
            change = self._learn_one(refusal, record.changes)
            if change or self.error:
                record.refusal = refusal
                return change
        return None

    def _learn_one(
        self, refusal: Refusal, sent_with: tuple[str, ...], remedy: str = ""
    ) -> str | None:
        failure = RequestFailure(refusal.reason, detail=refusal.detail)
        try:
            return self._features.learn(failure, self._body, sent_with)
        except RunFailure as error:
            self.error = f"{self._url}: {error.reason}{remedy}"
            return None
