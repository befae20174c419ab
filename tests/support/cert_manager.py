"""The kind of cert-manager that the operator makes objects of; the program itself is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.support.cluster.control_plane import ControlPlane

_CRD: Final = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: certificates.cert-manager.io}
spec:
  group: cert-manager.io
  scope: Namespaced
  names: {kind: Certificate, plural: certificates, singular: certificate, listKind: CertificateList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""


def install(plane: ControlPlane) -> None:
    """Add the kind; it can be used at once."""
    plane.kubectl("apply", "-f", "-", input=_CRD)
    plane.kubectl("wait", "--for=condition=Established", "--timeout=20s", "crd/certificates.cert-manager.io")


def uninstall(plane: ControlPlane) -> None:
    """Take the kind away, if it is there."""
    plane.kubectl("delete", "crd", "certificates.cert-manager.io", "--ignore-not-found")
