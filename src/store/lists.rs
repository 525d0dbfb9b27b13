//! Lists as people look at them: models by name, the newest runs first, the best results first. Each reads what it
//! shows and little more, however much there is.

use super::key::{self, Key};
use super::tx::Read;
use crate::domain::error::Result;
use crate::domain::ids::{DatasetId, ExperimentId, ModelId, ProjectId, RunId};
use crate::domain::name::Name;
use crate::domain::run::Run;

/// How many ids the first look back for a model's newest runs spans; each further one spans twice as many.
const FIRST_LOOK: u64 = 256;

/// Up to `limit` models of a project in the order of their names, after `after`.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn models(reader: &impl Read, project: ProjectId, after: Option<&Name>, limit: usize) -> Result<Vec<ModelId>> {
    let prefix = Key::new(key::MODEL_NAME).id(project.0);
    let end = key::after_prefix(&prefix.clone().done());
    let from = match after {
        // No name holds a nought byte, so this is the next key after its own.
        Some(name) => prefix.text(name.as_str()).byte(0).done(),
        None => prefix.done(),
    };
    reader.range(from, end).take(limit).map(|pair| Ok(ModelId(key::last_id(&pair?.1)))).collect()
}

/// Up to `limit` of a model's runs, the newest first.
///
/// Ranges are read forwards alone, so this looks back over spans of ids that double until they hold enough.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn newest_runs(reader: &impl Read, model: ModelId, limit: usize) -> Result<Vec<Run>> {
    let key_of = |id: u64| Key::new(key::RUN_OF_MODEL).id(model.0).id(id).done();
    // A model is older than its runs.
    let (mut end, mut span) = (reader.counter("last_id")?.saturating_add(1), FIRST_LOOK);
    let mut found = Vec::new();
    while found.len() < limit && end > model.0 {
        let from = end.saturating_sub(span).max(model.0);
        let ids = reader.range(key_of(from), key_of(end)).map(|pair| Ok(RunId(key::last_id(&pair?.0))));
        let ids = ids.collect::<Result<Vec<_>>>()?;
        for id in ids.into_iter().rev().take(limit - found.len()) {
            found.extend(super::runs::get(reader, id)?);
        }
        (end, span) = (from, span.saturating_mul(2));
    }
    Ok(found)
}

/// Up to `limit` results of a model after the first `skipped`, the best first: whose they are and on what.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn leaders(
    reader: &impl Read,
    model: ModelId,
    skipped: usize,
    limit: usize,
) -> Result<Vec<(ExperimentId, DatasetId)>> {
    let all = reader.prefix(Key::new(key::SCORE).id(model.0).done());
    let pointed = all.skip(skipped).take(limit).map(|pair| {
        let (_, pointer) = pair?;
        Ok((ExperimentId(key::id_at(&pointer, 0)), DatasetId(key::id_at(&pointer, 8))))
    });
    pointed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::run::tests::a_run;
    use crate::store::{Options, Store, runs};

    #[tokio::test]
    async fn the_newest_runs_are_found_behind_much_else() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { cache_bytes: 1 << 20, min_free_bytes: 0, ..Options::default() };
        let store = Store::open(folder.path(), options).unwrap();
        // Some early runs of a model, then thousands of ids of others', then one more.
        let write = store.write(|tx| {
            let model = ModelId(tx.next_id()?);
            let mut made = Vec::new();
            for at in 0..3000 {
                let id = tx.next_id()?;
                if at < 5 || at == 2999 {
                    let mut run = a_run();
                    (run.id, run.spec.model, run.sweep) = (RunId(id), model, None);
                    runs::put(tx, None, &run)?;
                    made.push(id);
                }
            }
            Ok((model, made))
        });
        let (model, mut made) = write.await.unwrap();
        made.reverse();
        for limit in [1, 3, 6, 100] {
            let found = newest_runs(&store, model, limit).unwrap();
            let ids: Vec<u64> = found.iter().map(|run| run.id.0).collect();
            assert_eq!(ids, made[..limit.min(6)], "{limit}");
        }
        assert!(newest_runs(&store, ModelId(1), 5).unwrap().is_empty());
    }
}
