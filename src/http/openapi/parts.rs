//! Parameters that several calls take, each written down once.
//!
//! Knows what a parameter looks like; the handlers read them.

#![expect(dead_code, reason = "they are read by whoever reads the document")]

use utoipa::IntoParams;

/// Things that can be asked for in part, by `fields`.
pub const PROJECTED: [&str; 0] = [];

/// Where a list goes on, and how much of it is wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// How many things at the most
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before
    cursor: Option<String>,
}

/// A run by its id.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfRun {
    /// The run's id
    #[param(pattern = "^run_[0-9a-hjkmnp-tv-z]{13}$")]
    id: String,
}

/// A sweep by its id.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfSweep {
    /// The sweep's id
    #[param(pattern = "^swp_[0-9a-hjkmnp-tv-z]{13}$")]
    id: String,
}

/// A model by its name or id.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfModel {
    /// The model's name or id
    #[param(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    model: String,
}

/// An account by its name or id.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfAccount {
    /// The account's name or id
    #[param(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    account: String,
}

/// An experiment of a model.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfExperiment {
    /// The model's name or id
    #[param(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    model: String,
    /// The experiment's name or id
    #[param(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    experiment: String,
}

/// A dataset of a model.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfDataset {
    /// The model's name or id
    #[param(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    model: String,
    /// The dataset's name or id
    #[param(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    dataset: String,
}

/// Something in the trash by its id.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfTrash {
    /// The id that deleting it answered
    #[param(pattern = "^trs_[0-9a-hjkmnp-tv-z]{13}$")]
    id: String,
}

/// A token by its id.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfToken {
    /// The token's id
    #[param(pattern = "^tok_[0-9a-hjkmnp-tv-z]{13}$")]
    id: String,
}

/// A webhook by its id.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfWebhook {
    /// The webhook's id
    #[param(pattern = "^whk_[0-9a-hjkmnp-tv-z]{13}$")]
    id: String,
}

/// Whether something is deleted, or only looked at.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DryRun {
    /// True to be told only what deleting it would free
    dry_run: Option<bool>,
}

/// The model of a call of the experiments API.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ModelName {
    /// The model's name
    #[param(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    model_name: String,
}

/// The experiment of a call of the experiments API.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ExperimentName {
    /// The experiment's name
    #[param(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    experiment_name: String,
}

/// The experiment of a call of the experiments API that need not have one.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AnyExperiment {
    /// The experiment's name
    #[param(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    experiment_name: Option<String>,
}

/// The dataset of a call of the experiments API that need not have one.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AnyDataset {
    /// The dataset's name; without it, all of the model's images
    #[param(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    dataset_name: Option<String>,
}

/// How runs are to be treated.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OfTerms {
    /// The higher, the earlier
    #[param(minimum = 0, maximum = 100, default = 0)]
    priority: Option<u8>,
    /// How long each run may take
    #[param(minimum = 1)]
    timeout_seconds: Option<u32>,
}
