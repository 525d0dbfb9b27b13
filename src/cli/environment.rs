//! Environment variables of the trainer's contract.
//!
//! It must not know what they are used for.

use super::CliError;
use crate::trainer::classify::packed::Cache;
use crate::trainer::nn::kernels::Isa;
use crate::trainer::sharing::{JOB, JobEntry};
use std::env;
use std::path::PathBuf;

/// `TRAINYARD_SEED`, 0 where it is not set.
pub fn seed() -> Result<u64, CliError> {
    let Some(value) = env::var_os("TRAINYARD_SEED").filter(|value| !value.is_empty()) else { return Ok(0) };
    let value = value.to_string_lossy().into_owned();
    let expected = "a whole number from 0 to 18446744073709551615";
    value.parse().map_err(|_| CliError::Environment { name: "TRAINYARD_SEED", value, expected })
}

/// Whether a server started this and reads what it prints: then `TRAINYARD_RUN_ID` is set.
pub fn is_run_of_a_server() -> bool {
    env::var_os("TRAINYARD_RUN_ID").is_some_and(|value| !value.is_empty())
}

/// `TRAINYARD_MODEL_DIR`, the working directory where it is not set.
pub fn model_dir() -> PathBuf {
    env::var_os("TRAINYARD_MODEL_DIR")
        .filter(|value| !value.is_empty())
        .map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// What `TRAINYARD_CACHE_DIR` may hold unless `TRAINYARD_CACHE_BYTES` says otherwise, in bytes.
const CACHE_BYTES: u64 = 2 << 30;

/// `TRAINYARD_CACHE_DIR` with `TRAINYARD_CACHE_BYTES`; none where the first is not set or the second is 0.
pub fn cache() -> Result<Option<Cache>, CliError> {
    let Some(folder) = env::var_os("TRAINYARD_CACHE_DIR").filter(|value| !value.is_empty()) else { return Ok(None) };
    let limit = match env::var_os("TRAINYARD_CACHE_BYTES").filter(|value| !value.is_empty()) {
        None => CACHE_BYTES,
        Some(value) => {
            let value = value.to_string_lossy().into_owned();
            let expected = "a whole number of bytes";
            value.parse().map_err(|_| CliError::Environment { name: "TRAINYARD_CACHE_BYTES", value, expected })?
        }
    };
    Ok((limit > 0).then(|| Cache { folder: folder.into(), limit }))
}

/// The folder for the model of each of `steps`: as `TRAINYARD_JOB` has it, else the model's folder for a single one and
/// a folder `k<steps>` in it for each of several.
pub fn folders(steps: &[u64]) -> Result<Vec<PathBuf>, CliError> {
    let Some(value) = env::var_os(JOB).filter(|value| !value.is_empty()) else {
        let root = model_dir();
        return Ok(match steps {
            [_] => vec![root],
            _ => steps.iter().map(|steps| root.join(format!("k{steps}"))).collect(),
        });
    };
    let value = value.to_string_lossy().into_owned();
    let expected =
        "a JSON list with an object such as {\"k\": 1000, \"run\": \"...\", \"folder\": \"...\"} for each --k";
    let entries: Option<Vec<JobEntry>> = serde_json::from_str(&value).ok();
    let folder_of = |steps: &u64| {
        let entry = entries.as_ref()?.iter().find(|entry| entry.k == *steps)?;
        Some(entry.folder.clone())
    };
    let folders: Option<Vec<PathBuf>> = steps.iter().map(folder_of).collect();
    folders.ok_or(CliError::Environment { name: JOB, value, expected })
}

/// `TRAINYARD_BACKBONE`, none where it is not set.
pub fn backbone() -> Option<PathBuf> {
    env::var_os("TRAINYARD_BACKBONE").filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// `TRAINYARD_ISA`, the processor's best where it is not set.
pub fn isa() -> Result<Isa, CliError> {
    let Some(value) = env::var_os("TRAINYARD_ISA").filter(|value| !value.is_empty()) else { return Ok(Isa::detect()) };
    let value = value.to_string_lossy().into_owned();
    let expected = "baseline, avx2 or avx512, as far as this processor has it";
    Isa::named(&value).ok_or(CliError::Environment { name: "TRAINYARD_ISA", value, expected })
}

/// `TRAINYARD_DATASET_VERSION`, nothing where it is not set.
pub fn dataset_version() -> Option<String> {
    let value = env::var_os("TRAINYARD_DATASET_VERSION").filter(|value| !value.is_empty());
    value.map(|value| value.to_string_lossy().into_owned())
}
