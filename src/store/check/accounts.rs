//! Accounts, their secrets, shares, webhooks and e-mail.

use super::super::key::{self, Key};
use super::super::tx::Read;
use super::super::{accounts, answers, codec, mails, models, shares, tokens, webhooks};
use super::look::Look;
use crate::domain::account::LOCAL_ACCOUNT;
use crate::domain::answer::KeptAnswer;
use crate::domain::error::Result;
use crate::domain::ids::{AccountId, ModelId, TokenId};

pub(super) fn account<R: Read>(look: &mut Look<'_, R>) {
    let Some(account) = look.decoded("account", accounts::decode(look.value())) else { return };
    let who = account.id.to_string();
    let own = Key::new(key::ACCOUNT).id(account.id.0).done();
    // The name of one that was removed may be another's.
    if look.is_at(&who, &own) && account.stamp.trashed_at.is_none() {
        look.index(&who, "name", accounts::name_key(&account.name), &account.id.0.to_be_bytes());
    }
}

pub(super) fn account_name<R: Read>(look: &mut Look<'_, R>) {
    let id = AccountId(key::last_id(look.value()));
    let own = look.key().to_vec();
    let found = accounts::get(look.reader, id);
    look.leads(format_args!("the name of {id}"), found, |account| {
        account.stamp.trashed_at.is_none() && accounts::name_key(&account.name)[1..] == own
    });
}

pub(super) fn token<R: Read>(look: &mut Look<'_, R>) {
    let Some(token) = look.decoded("token", tokens::decode(look.value())) else { return };
    let who = token.id.to_string();
    if !look.is_at(&who, &tokens::record_key(token.id)) {
        return;
    }
    look.expect(&who, format_args!("its account {}", token.account), accounts::get(look.reader, token.account));
    look.index(&who, "hash", tokens::hash_key(&token.hash), &token.id.0.to_be_bytes());
    look.index(&who, "account's list", tokens::owned_key(token.account, token.id), &[]);
}

pub(super) fn token_hash<R: Read>(look: &mut Look<'_, R>) {
    let id = TokenId(key::last_id(look.value()));
    let own = look.key().to_vec();
    let found = tokens::get(look.reader, id);
    look.leads(format_args!("the hash of {id}"), found, |token| token.hash[..] == own);
}

pub(super) fn token_of_account<R: Read>(look: &mut Look<'_, R>) {
    let Some([account, id]) = look.ids() else { return };
    let found = tokens::get(look.reader, TokenId(id));
    look.leads(format_args!("{} of {}", TokenId(id), AccountId(account)), found, |token| token.account.0 == account);
}

/// A share stands at two keys, one for each side.
pub(super) fn share<R: Read>(look: &mut Look<'_, R>, by_model: bool) {
    let Some([first, second]) = look.ids() else { return };
    let (model, account) = if by_model { (first, second) } else { (second, first) };
    let (model, account) = (ModelId(model), AccountId(account));
    let who = format!("the share of {model} with {account}");
    if let Err(error) = shares::read(look.value()) {
        return look.problem(format!("{who} cannot be read: {error}"));
    }
    look.expect(&who, format_args!("its model {model}"), models::get(look.reader, model));
    look.expect(&who, format_args!("its account {account}"), accounts::get(look.reader, account));
    let other = if by_model { shares::with_key(account, model) } else { shares::key_of(model, account) };
    let value = look.value().to_vec();
    look.index(&who, "other side", other, &value);
}

pub(super) fn webhook<R: Read>(look: &mut Look<'_, R>) {
    let Some(webhook) = look.decoded("webhook", webhooks::decode(look.value())) else { return };
    let who = webhook.id.to_string();
    if !look.is_at(&who, &webhooks::record_key(webhook.id)) {
        return;
    }
    let owner = webhook.stamp.owner;
    if owner != LOCAL_ACCOUNT {
        look.expect(&who, format_args!("its owner {owner}"), accounts::get(look.reader, owner));
    }
    if let Some(model) = webhook.model {
        look.expect(&who, format_args!("its model {model}"), models::get(look.reader, model));
    }
}

pub(super) fn delivery<R: Read>(look: &mut Look<'_, R>) {
    let Some([id]) = look.ids() else { return };
    if look.decoded("webhook's delivery", webhooks::decode_delivery(look.value())).is_none() {
        return;
    }
    let id = crate::domain::ids::WebhookId(id);
    look.leads(format_args!("the delivery of {id}"), webhooks::get(look.reader, id), |_| true);
}

pub(super) fn mail_delivery<R: Read>(look: &mut Look<'_, R>) {
    if let Some((address, _)) = look.decoded("e-mail's delivery", mails::decode(look.value())) {
        look.is_at(format_args!("the delivery to {address}"), &mails::delivery_key(&address));
    }
}

pub(super) fn answer<R: Read>(look: &mut Look<'_, R>) {
    let Some(answer) = look.decoded("kept answer", answers::decode(look.value())) else { return };
    let who = format!("an answer kept for {}", answer.key.account);
    if look.is_at(&who, &answers::record_key(answer.key)) {
        if let Err(error) = answers::get(look.reader, answer.key, answer.at) {
            look.problem(format!("the body of {who} cannot be read: {error}"));
        }
        look.index(&who, "place in the order", answers::order_key(answer.key, answer.at), &[]);
    }
}

pub(super) fn answer_order<R: Read>(look: &mut Look<'_, R>) {
    let found = answer_at(look);
    let key = look.whole_key();
    let fits = |answer: &KeptAnswer| answers::order_key(answer.key, answer.at) == key;
    look.leads("the kept answer", found, fits);
}

pub(super) fn answer_body<R: Read>(look: &mut Look<'_, R>) {
    look.decoded::<Vec<u8>>("a piece of a kept answer", codec::decode_v1(look.value()));
    let found = answer_at(look);
    look.leads("the kept answer", found, |_| true);
}

/// The answer that a key belongs to.
fn answer_at<R: Read>(look: &Look<'_, R>) -> Result<Option<KeptAnswer>> {
    let Some(key) = answers::owner(look.whole_key()) else { return Ok(None) };
    // One that does not decode is found at its own key.
    Ok(look.reader.get(&answers::record_key(key))?.and_then(|bytes| answers::decode(&bytes).ok()))
}
