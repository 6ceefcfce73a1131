//! Values of any size in ConfigMaps: compressed, cut where they are larger than
//! an object may be, and never changed once they are written.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cluster::{Cluster, Fault};
use super::names::{self, part};
use crate::store::StoreError;

/// What one object holds. An object may have 1 MiB.
const LARGEST: usize = 600 * 1024;
/// Where the bytes stand in an object.
const KEY: &str = "zlib";

/// Where a value is: the names of its objects are this and a number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Blob {
    #[serde(rename = "n")]
    pub(super) name: String,
    /// How many objects.
    #[serde(rename = "c", default = "one", skip_serializing_if = "is_one")]
    pub(super) count: u32,
}

fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_one(count: &u32) -> bool {
    *count == 1
}

impl Blob {
    /// The names of its objects.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let name = self.name.clone();
        (0..self.count).map(move |number| format!("{name}-{number}"))
    }
}

/// Compresses a value.
pub(super) fn pack(value: &impl Serialize) -> Result<Vec<u8>, std::io::Error> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    serde_json::to_writer(&mut encoder, value)?;
    encoder.flush()?;
    encoder.finish()
}

/// Reads what [`pack`] wrote.
pub(super) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, std::io::Error> {
    let mut text = Vec::new();
    ZlibDecoder::new(bytes).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// An object with compressed bytes.
pub(super) fn object(meta: kube::api::ObjectMeta, bytes: Vec<u8>) -> ConfigMap {
    ConfigMap {
        metadata: meta,
        binary_data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(bytes))])),
        ..ConfigMap::default()
    }
}

/// The compressed bytes of an object.
pub(super) fn bytes_of(object: &ConfigMap) -> &[u8] {
    let data = object.binary_data.as_ref();
    data.and_then(|data| data.get(KEY))
        .map_or(&[], |bytes| &bytes.0)
}

/// Writes a value under a name that nobody used before.
pub(super) async fn write(
    cluster: &Cluster,
    name: String,
    value: &impl Serialize,
) -> Result<Blob, StoreError> {
    const ACTION: &str = "write a page of the ledger";
    let bytes = pack(value).map_err(|error| cluster.failed(ACTION, error))?;
    let chunks: Vec<&[u8]> = bytes.chunks(LARGEST).collect();
    let count = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
    let blob = Blob { name, count };
    for (name, chunk) in blob.names().zip(chunks) {
        let mut object = object(names::meta(&name, part::LEDGER, &[]), chunk.to_vec());
        object.immutable = Some(true);
        match cluster.create(ACTION, &object).await {
            // Only this write knows the name: its answer was lost.
            Ok(_) | Err(Fault::Conflict) => {}
            Err(fault) => return Err(fault.into_error(cluster, ACTION)),
        }
    }
    Ok(blob)
}

/// Reads a value; `None` where it is gone, since a later write replaced it.
pub(super) async fn read<T: DeserializeOwned>(
    cluster: &Cluster,
    blob: &Blob,
) -> Result<Option<T>, StoreError> {
    const ACTION: &str = "read a page of the ledger";
    let mut bytes = Vec::new();
    for name in blob.names() {
        match cluster.get::<ConfigMap>(ACTION, &name).await? {
            Some(object) => bytes.extend_from_slice(bytes_of(&object)),
            None => return Ok(None),
        }
    }
    let value = unpack(&bytes);
    let value = value.map_err(|error| cluster.corrupt(format!("page {}", blob.name), error))?;
    Ok(Some(value))
}

/// Deletes values that nothing refers to any more.
pub(super) async fn delete(cluster: &Cluster, blobs: Vec<Blob>) -> Result<(), StoreError> {
    let names: Vec<String> = blobs.iter().flat_map(Blob::names).collect();
    super::cluster::for_each(names, |name| {
        let cluster = cluster.clone();
        async move {
            let action = "delete an old page of the ledger";
            cluster.delete::<ConfigMap>(action, &name).await
        }
    })
    .await
    .map(drop)
}
