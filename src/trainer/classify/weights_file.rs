//! The model as a safetensors file: weights under their names, and the [`Card`] in its metadata.
//!
//! Tensors carry the names and shapes of [`NetworkShape::tensors`](crate::trainer::nn::network::NetworkShape). The
//! metadata has one key, because the format's library writes several in random order, and equal runs shall give equal
//! files. It must not know how a file gets to the disk.

use super::card::{Card, KEY};
use crate::trainer::nn::kernels::Isa;
use crate::trainer::nn::network::Network;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;

/// The longest header that is read, in bytes.
const MAX_HEADER: u64 = 4 << 20;

/// The bytes of a safetensors file; equal models are equal bytes.
///
/// # Errors
/// If the card could not be read back.
pub(super) fn write(card: &Card, network: &Network) -> Result<Vec<u8>, String> {
    let parameters = network.shape().tensors();
    let bytes_of = |parameter| network.values(parameter).into_iter().flat_map(f32::to_le_bytes).collect();
    let tensors: Vec<Vec<u8>> = parameters.iter().map(bytes_of).collect();
    let mut views = Vec::with_capacity(tensors.len());
    for (parameter, bytes) in parameters.iter().zip(&tensors) {
        let view = TensorView::new(Dtype::F32, parameter.shape.clone(), bytes).map_err(|error| error.to_string())?;
        views.push((parameter.name.as_str(), view));
    }
    let metadata = HashMap::from([(KEY.to_owned(), card.to_json()?)]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())
}

/// The card of a file that [`write`] made, and its network with room for `batch` pictures.
///
/// # Errors
/// What is wrong with the file, in words for its owner.
pub(super) fn read(bytes: &[u8], isa: Isa, batch: usize) -> Result<(Card, Network), String> {
    let length = bytes.first_chunk().map(|header| u64::from_le_bytes(*header));
    if length.is_none_or(|length| length > MAX_HEADER.min(bytes.len() as u64 - 8)) {
        return Err("its header is longer than the file, or than any of ours".to_owned());
    }
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| format!("it is damaged: {error}"))?;
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| format!("it is damaged: {error}"))?;
    let card = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
    let (card, shape) = Card::parse(card.ok_or("it was not written by this program")?)?;
    let parameters = shape.tensors();
    let mut views = Vec::with_capacity(parameters.len());
    for parameter in &parameters {
        let view = tensors.tensor(&parameter.name).map_err(|_| format!("the tensor {} is missing", parameter.name))?;
        if view.dtype() != Dtype::F32 || view.shape() != parameter.shape {
            return Err(format!("the tensor {} has the wrong shape or type", parameter.name));
        }
        views.push(view);
    }
    if tensors.len() != parameters.len() {
        return Err("it has more tensors than its network".to_owned());
    }
    let mut network = Network::zeroed(isa, shape, batch);
    for (parameter, view) in parameters.iter().zip(views) {
        network.set_values(parameter, view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
    }
    card.verify(&network)?;
    Ok((card, network))
}

#[cfg(test)]
mod tests {
    use super::super::model_file::tests::sample;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn foreign_files_are_refused() {
        let data = 1.0f32.to_le_bytes();
        let view = TensorView::new(Dtype::F32, vec![1], &data).unwrap();
        let foreign = safetensors::serialize([("weight", view)], None).unwrap();
        let Err(reason) = read(&foreign, Isa::BASELINE, 1) else { panic!("accepted") };
        assert!(reason.contains("not written by this program"), "{reason}");
    }

    proptest! {
        #[test]
        fn damage_is_always_noticed(at in 0usize..1 << 16, change in 1u8.., cut in 1usize..500) {
            let (card, network) = sample();
            let bytes = write(&card, &network).unwrap();
            let mut flipped = bytes.clone();
            let at = at % bytes.len();
            flipped[at] ^= change;
            // What means nothing may change, such as a blank in the header.
            if let Ok((found, weights)) = read(&flipped, Isa::BASELINE, 1) {
                prop_assert_eq!((&card, network.parameters()), (&found, weights.parameters()));
            }
            prop_assert!(read(&bytes[..bytes.len() - cut], Isa::BASELINE, 1).is_err());
        }
    }
}
