//! The sealed keys of a revision: opened to see that they fit, and once more
//! when they are staged. No opened key is kept.

use std::collections::BTreeMap;

use crate::ca::CertificateInfo;
use crate::check;
use crate::model::{
    AuthorityId, DesiredMesh, Diagnostic, Digest, PrivateKey, ProvidedCa, ResourceKey,
};
use crate::source::decryption::Identities;

/// The identities, and what was found out about each key with them.
#[derive(Debug)]
pub(super) struct SealedKeys {
    identities: Identities,
    /// By the digest of certificate and armor: what is wrong with the pair.
    verdicts: BTreeMap<Digest, Option<Diagnostic>>,
}

impl SealedKeys {
    pub(super) fn new(identities: Identities) -> Self {
        Self {
            identities,
            verdicts: BTreeMap::new(),
        }
    }

    /// What is wrong with the sealed keys of `mesh`.
    pub(super) fn verify(&mut self, mesh: &DesiredMesh) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        for (ca, desired) in mesh.provided_cas() {
            let key = desired.resource.key();
            let pair = Digest::of_parts([ca.cert.as_bytes(), &[0], ca.key.as_bytes()]);
            let identities = &self.identities;
            let verdict = self
                .verdicts
                .entry(pair)
                .or_insert_with(|| verify(identities, ca, &key));
            findings.extend(verdict.clone().map(|found| found.on_resource(&key)));
        }
        findings
    }

    /// The keys of the provided authorities of `mesh` that can be opened.
    pub(super) fn open(&self, mesh: &DesiredMesh) -> Vec<(AuthorityId, PrivateKey)> {
        mesh.provided_cas()
            .filter_map(|(ca, _)| {
                let id = CertificateInfo::from_pem(&ca.cert).ok()?.id;
                Some((id, self.identities.open(&ca.key).ok()?))
            })
            .collect()
    }
}

fn verify(identities: &Identities, ca: &ProvidedCa, key: &ResourceKey) -> Option<Diagnostic> {
    let opened = match identities.open(&ca.key) {
        Ok(opened) => opened,
        Err(error) => return Some(error.diagnostic(key)),
    };
    Some(check::key_pair(&ca.cert, &opened)?.on(key))
}
