//! Lists as people look at them: models by name, the newest runs first. Each reads what it shows and no more, however much
//! there is.

use super::key::{self, Key};
use super::runs::Listed;
use super::tx::{Read, ReadBack};
use crate::domain::error::Result;
use crate::domain::ids::{ModelId, ProjectId};
use crate::domain::name::Name;
use crate::domain::run::Run;

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
/// # Errors
/// `internal` where the store cannot be read.
pub fn newest_runs(reader: &impl ReadBack, model: ModelId, limit: usize) -> Result<Vec<Run>> {
    super::runs::newest(reader, Listed::OfModel(model), None, limit)
}

/// Up to `limit` ids that end the keys of a list, before the id `before`, the newest first.
pub(super) fn newest_ids(reader: &impl ReadBack, list: &Key, before: Option<u64>, limit: usize) -> Result<Vec<u64>> {
    let from = list.clone().done();
    let to = before.map_or_else(|| key::after_prefix(&from), |before| list.clone().id(before).done());
    reader.range_back(from, to).take(limit).map(|pair| Ok(key::last_id(&pair?.0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::RunId;
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
