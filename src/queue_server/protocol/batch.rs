//! The three batches: what refuses a batch as a whole, and what only one of its entries.

use super::super::model::Broker;
use super::super::model::refusal::{Code, Refusal};
use super::shapes::{Batch, BatchAnswer, DoneEntry, FailedEntry, Held, SendMessage};
use super::{Context, name_in_url, need, send_one, write};
use serde::Serialize;
use std::collections::HashSet;

/// SendMessageBatch.
pub fn send(
    broker: &mut Broker,
    batch: Batch<SendMessage>,
    cx: Context,
) -> Result<Vec<u8>, Refusal> {
    let name = name_in_url(batch.queue_url)?;
    broker.touch(&name, cx.now);
    broker.queue(&name, cx.now)?;
    let ids = check(batch.entries.iter().map(|entry| &entry.id))?;
    let sends: Vec<_> = batch
        .entries
        .iter()
        .filter_map(|entry| entry.to_send().ok())
        .collect();
    broker.check_batch(sends.iter())?;
    each(ids, &batch.entries, cx, |entry, id| {
        let mut sent = send_one(broker, &name, entry, cx)?;
        sent.id = Some(id);
        Ok(sent)
    })
}

/// DeleteMessageBatch.
pub fn delete(broker: &mut Broker, batch: &Batch<Held>, cx: Context) -> Result<Vec<u8>, Refusal> {
    let name = name_in_url(batch.queue_url.clone())?;
    broker.queue(&name, cx.now)?;
    let ids = check(batch.entries.iter().map(|entry| &entry.id))?;
    each(ids, &batch.entries, cx, |entry, id| {
        let handle = need("ReceiptHandle", entry.receipt_handle.as_deref())?;
        broker.delete(&name, handle, cx.now)?;
        Ok(DoneEntry { id })
    })
}

/// ChangeMessageVisibilityBatch.
pub fn change_visibility(
    broker: &mut Broker,
    batch: &Batch<Held>,
    cx: Context,
) -> Result<Vec<u8>, Refusal> {
    let name = name_in_url(batch.queue_url.clone())?;
    let own = broker.queue(&name, cx.now)?.attributes.visibility;
    let ids = check(batch.entries.iter().map(|entry| &entry.id))?;
    each(ids, &batch.entries, cx, |entry, id| {
        let handle = need("ReceiptHandle", entry.receipt_handle.as_deref())?;
        let timeout = entry.visibility_timeout.unwrap_or(i64::from(own));
        broker.change_visibility(&name, handle, timeout, cx.now)?;
        Ok(DoneEntry { id })
    })
}

fn each<E, T: Serialize>(
    ids: Vec<String>,
    entries: &[E],
    cx: Context,
    mut act: impl FnMut(&E, String) -> Result<T, Refusal>,
) -> Result<Vec<u8>, Refusal> {
    let mut answer = BatchAnswer {
        successful: Vec::new(),
        failed: Vec::new(),
    };
    for (place, (id, entry)) in ids.into_iter().zip(entries).enumerate() {
        let done = match cx.refuse {
            Some((code, places)) if places.contains(&place) => Err(Refusal::new(
                code,
                "Refused by a fault that the test asked for.",
            )),
            _ => act(entry, id.clone()),
        };
        match done {
            Ok(done) => answer.successful.push(done),
            Err(refusal) => answer.failed.push(FailedEntry {
                id,
                sender_fault: refusal.code.is_senders(),
                code: refusal.code.query(),
                message: refusal.message,
            }),
        }
    }
    write(&answer)
}

/// The ids of a batch's entries: 1 to 10, each well formed, no two alike.
fn check<'a>(
    ids: impl ExactSizeIterator<Item = &'a Option<String>>,
) -> Result<Vec<String>, Refusal> {
    match ids.len() {
        0 => {
            return Err(Refusal::new(
                Code::EmptyBatchRequest,
                "There should be at least one entry in the request.",
            ));
        }
        1..=10 => {}
        many => {
            return Err(Refusal::new(
                Code::TooManyEntriesInBatchRequest,
                format!("Maximum number of entries per request are 10. You have sent {many}."),
            ));
        }
    }
    let ids: Vec<String> = ids.map(|id| id.clone().unwrap_or_default()).collect();
    let well = |id: &&String| {
        (1..=80).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if !ids.iter().all(|id| well(&id)) {
        return Err(Refusal::new(
            Code::InvalidBatchEntryId,
            "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.",
        ));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = ids.iter().find(|id| !seen.insert(id.as_str())) {
        return Err(Refusal::new(
            Code::BatchEntryIdsNotDistinct,
            format!("Id {twice} repeated."),
        ));
    }
    Ok(ids)
}
