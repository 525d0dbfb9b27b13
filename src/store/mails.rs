//! How the deliveries of e-mail stand, for each address that is written to.
//!
//! The addresses are those of the settings; a record is there for as long as they name it.

use super::codec::{self, CodecError};
use super::key::{self, Key};
use super::tx::{Read, Tx, damaged};
use super::webhooks::DeliveryV1;
use crate::domain::error::Result;
use crate::domain::webhook::Delivery;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct MailV1 {
    address: String,
    delivery: DeliveryV1,
}

/// The address, and how its deliveries stand.
pub(super) fn decode(bytes: &[u8]) -> Result<(String, Delivery), CodecError> {
    let stored: MailV1 = codec::decode_v1(bytes)?;
    Ok((stored.address, stored.delivery.into()))
}

pub(super) fn delivery_key(address: &str) -> Vec<u8> {
    Key::new(key::MAIL_DELIVERY).bytes(address.as_bytes()).done()
}

/// How the deliveries to an address stand.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn delivery(reader: &impl Read, address: &str) -> Result<Delivery> {
    match reader.get(&delivery_key(address))? {
        Some(bytes) => Ok(decode(&bytes).map_err(damaged("e-mail's delivery"))?.1),
        None => Ok(Delivery::default()),
    }
}

/// Writes how the deliveries to an address stand.
///
/// # Errors
/// `internal` where it does not encode.
pub fn put_delivery(tx: &mut Tx<'_>, address: &str, delivery: &Delivery) -> Result<()> {
    let stored = MailV1 { address: address.to_owned(), delivery: delivery.into() };
    tx.put(delivery_key(address), codec::encode(1, &stored))
}

/// The addresses that there are records of.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn known(reader: &impl Read) -> Result<Vec<String>> {
    let pairs = reader.prefix(vec![key::MAIL_DELIVERY]);
    pairs.map(|pair| Ok(decode(&pair?.1).map_err(damaged("e-mail's delivery"))?.0)).collect()
}

/// From now on these are the addresses that are written to: new ones about what happens next, and others are forgotten.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn keep(tx: &mut Tx<'_>, addresses: &[String]) -> Result<()> {
    let known = known(tx)?;
    for address in known.iter().filter(|address| !addresses.contains(address)) {
        tx.delete(delivery_key(address));
    }
    let told = tx.last_event();
    for address in addresses.iter().filter(|address| !known.contains(address)) {
        put_delivery(tx, address, &Delivery { told, ..Delivery::default() })?;
    }
    Ok(())
}
