//! Queues as a whole: a real runner, real handlers, and a server over its socket.
//!
//! The faults of what `runner` replaces that concern a queue, and the test that we do not have each:
//!
//! | fault of the original | test |
//! |---|---|
//! | B1 a message that cannot be read is deleted, with no copy | `handlers::a_message_that_does_not_fit_is_rejected_with_the_reason_and_never_handled` |
//! | B2 no dead letters: retried every 3 hours until it expires | `handlers::after_its_last_receive_a_message_is_put_among_the_dead_letters` |
//! | B3 hidden for 3 hours with no heartbeat | `faults::a_lease_is_kept_for_as_long_as_the_handler_needs`, `faults::a_second_signal_ends_it_at_once_and_a_killed_runner_loses_nothing` |
//! | B4 two places create the queue, with other attributes | `handlers::a_queue_that_is_not_there_or_does_not_fit_ends_the_role_with_a_sentence` (runner creates none), `ingester` (nor does its worker) |
//! | B5 the default handler swallows failures | `ingester::the_ingester_hands_tasks_to_the_application_and_loses_none` |
//! | B6 a message that the handler declined is deleted | the same |
//! | B7 an empty list is a success | `commands::what_cannot_be_sent_is_said_and_nothing_of_it_is_sent` |
//! | B8 a partial failure is reported as a whole one | `commands::what_is_refused_of_a_batch_is_tried_again_alone_or_named` |
//! | B9 two defaults for the type | roles.yaml has one, in the message's schema |
//! | B10 no stop in order | `faults::a_stop_lets_a_short_handler_finish`, `faults::a_stop_gives_back_what_is_not_done_in_time_unless_it_is_to_be_held`, `faults::what_a_receive_brings_after_sigterm_is_given_back_at_once` |
//! | B11 a list that grows for ever | `engine::poll::progress` counts, and keeps no list |
//! | B12 dead letters are copied, not moved, ten at a time | `commands::tasks_are_sent_counted_shown_and_brought_back` |
//! | B13 the dead letters are drained by the worker itself | only `redrive` does, when it is asked to: the same |
//! | B14 one bad body fails everything | `handlers::a_message_that_does_not_fit_is_rejected_with_the_reason_and_never_handled` |
//! | B15 deleted before it is sent elsewhere | `engine::poll::message` sends first; `kill` would find the loss |
//! | B16 `Failed` of a batch is not looked at | `faults::entries_that_could_not_be_deleted_are_tried_again_and_no_others`, `faults::a_deletion_that_is_refused_is_told_as_lost` |
//! | B17 counts that are missing raise | `sys::queue` reads a missing count as 0; `commands::tasks_are_sent_counted_shown_and_brought_back` |
//! | B20 the task with the last message in hand is ended | `protection::a_task_is_protected_while_a_message_is_in_hand` |
//!
//! B18, B19 and B21 to B25 are about the platform's own templates and scripts, which runner has none of.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod api;
mod commands;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod handlers;
mod ingester;
mod kill;
mod metrics;
mod moto;
mod protection;
mod stage;
