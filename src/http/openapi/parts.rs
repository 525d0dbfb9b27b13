//! Parameters that several calls take, each written down once.
//!
//! Knows what a parameter looks like; the handlers read them.

#![expect(dead_code, reason = "they are read by whoever reads the document")]

use utoipa::IntoParams;

/// Things that can be asked for in part, by `fields`, each with what always comes along.
pub const PROJECTED: [(&str, &str); 4] = [("Model", "id"), ("Experiment", "id"), ("Dataset", "id"), ("Image", "name")];

const NAMED: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$";
const NUMBERED: &str = "^[0-9]{1,9}$";
const PLACED: &str = "^[0-9]{1,9}-[0-9]{1,9}$";

/// What the cursors of lists look like.
pub const CURSORS: [(&str, &str); 16] = [
    ("list_accounts", NAMED),
    ("list_datasets", NAMED),
    ("list_models", NAMED),
    ("list_audit_entries", NUMBERED),
    ("list_experiments", NUMBERED),
    ("list_versions", NUMBERED),
    ("diff_versions", NUMBERED),
    ("list_duplicates", "^[0-9a-f]{64}$"),
    ("list_dataset_duplicates", "^[0-9a-f]{64}$"),
    ("list_runs", "^run_[0-9a-f][0-9a-hjkmnp-tv-z]{12}$"),
    ("list_trash", "^trs_[0-9a-f][0-9a-hjkmnp-tv-z]{12}$"),
    ("list_sweeps", "^swp_[0-9a-f][0-9a-hjkmnp-tv-z]{12}$"),
    ("list_images", PLACED),
    ("list_dataset_images", PLACED),
    ("get_leaderboard", "^([0-9a-f]{2}){1,320}$"),
    ("get_balance", "^=[^/\\\\]*$"),
];

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
    #[param(pattern = "^run_[0-9a-f][0-9a-hjkmnp-tv-z]{12}$")]
    id: String,
}

/// A sweep by its id.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfSweep {
    /// The sweep's id
    #[param(pattern = "^swp_[0-9a-f][0-9a-hjkmnp-tv-z]{12}$")]
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

/// A version of a dataset.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfVersion {
    /// The model's name or id
    #[param(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    model: String,
    /// The dataset's name or id
    #[param(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    dataset: String,
    /// The version's number
    #[param(minimum = 0)]
    version: u64,
}

/// Two versions of a dataset.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfVersions {
    /// The model's name or id
    #[param(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    model: String,
    /// The dataset's name or id
    #[param(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    dataset: String,
    /// The number of the one
    #[param(minimum = 0)]
    version: u64,
    /// The number of the other
    #[param(minimum = 0)]
    other: u64,
}

/// A part of each thing.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OfFields {
    /// Only these fields, with commas between them; what tells one thing from another always comes along
    fields: Option<String>,
}

/// The edition that a change is meant for.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IfMatch {
    /// The ETag (or the revision) of what is changed, as it was read: anything newer is left as it is (412)
    #[param(rename = "If-Match", pattern = "^(\\*|(\"[0-9]{1,9}\"|[0-9]{1,9})(, ?(\"[0-9]{1,9}\"|[0-9]{1,9}))*)$")]
    if_match: Option<String>,
}

/// What the client calls its request.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct OfKey {
    /// Anything of one's own: the same request with the same key within a day is answered as before, and done once
    #[param(rename = "Idempotency-Key", pattern = "^[!-~]{1,200}$")]
    idempotency_key: Option<String>,
}

/// Which images.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OfImages {
    /// Only those with this label, by their names
    #[param(max_length = 128, pattern = "^\\s*[^\\s./\\\\\\x00-\\x1f\\x7f-\\x9f][^/\\\\\\x00-\\x1f\\x7f-\\x9f]*\\s*$")]
    label: Option<String>,
    /// True for only those without a label
    unlabelled: Option<bool>,
    /// As they were in this version; the newest, unless said otherwise
    #[param(minimum = 0)]
    version: Option<u64>,
}

/// A version of what is asked about.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AsOf {
    /// As it was in this version; the newest, unless said otherwise
    #[param(minimum = 0)]
    version: Option<u64>,
}

/// One image.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OfImage {
    /// Its file name
    #[param(min_length = 1, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    name: String,
    /// Its label, where it has one
    #[param(max_length = 128, pattern = "^\\s*[^\\s./\\\\\\x00-\\x1f\\x7f-\\x9f][^/\\\\\\x00-\\x1f\\x7f-\\x9f]*\\s*$")]
    label: Option<String>,
    /// Its hash: with it the answer never changes and is kept for long
    #[param(pattern = "^[0-9a-f]{64}$")]
    hash: Option<String>,
    /// As it was in this version; the newest, unless said otherwise
    #[param(minimum = 0)]
    version: Option<u64>,
}

/// An image that is to be deleted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct GoneImage {
    /// Its file name
    #[param(min_length = 1, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    name: String,
    /// Its label, where it has one
    #[param(max_length = 128, pattern = "^\\s*[^\\s./\\\\\\x00-\\x1f\\x7f-\\x9f][^/\\\\\\x00-\\x1f\\x7f-\\x9f]*\\s*$")]
    label: Option<String>,
}

/// Something in the trash by its id.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfTrash {
    /// The id that deleting it answered
    #[param(pattern = "^trs_[0-9a-f][0-9a-hjkmnp-tv-z]{12}$")]
    id: String,
}

/// A token by its id.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfToken {
    /// The token's id
    #[param(pattern = "^tok_[0-9a-f][0-9a-hjkmnp-tv-z]{12}$")]
    id: String,
}

/// A webhook by its id.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfWebhook {
    /// The webhook's id
    #[param(pattern = "^whk_[0-9a-f][0-9a-hjkmnp-tv-z]{12}$")]
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
