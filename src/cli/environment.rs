//! Environment variables of the trainer's contract.
//!
//! It must not know what they are used for.

use super::CliError;
use crate::trainer::classify::packed::Cache;
use crate::trainer::nn::kernels::Isa;
use std::env;
use std::path::PathBuf;

/// `TRAINYARD_SEED`, 0 where it is not set.
pub fn seed() -> Result<u64, CliError> {
    let Some(value) = env::var_os("TRAINYARD_SEED").filter(|value| !value.is_empty()) else { return Ok(0) };
    let value = value.to_string_lossy().into_owned();
    let expected = "a whole number from 0 to 18446744073709551615";
    value.parse().map_err(|_| CliError::Environment { name: "TRAINYARD_SEED", value, expected })
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

/// `TRAINYARD_ISA`, the processor's best where it is not set.
pub fn isa() -> Result<Isa, CliError> {
    let Some(value) = env::var_os("TRAINYARD_ISA").filter(|value| !value.is_empty()) else { return Ok(Isa::detect()) };
    let value = value.to_string_lossy().into_owned();
    let expected = "baseline, avx2 or avx512, as far as this processor has it";
    Isa::named(&value).ok_or(CliError::Environment { name: "TRAINYARD_ISA", value, expected })
}
