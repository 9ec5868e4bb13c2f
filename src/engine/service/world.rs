//! The machine in a small model of the world: a process table, deliveries that may be late, and every order of
//! events that chance can find. What must hold is asserted after each step.

use super::*;
use crate::engine::backoff::Backoff;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What may happen next. Numbers pick among what is there.
#[derive(Debug, Clone)]
enum Act {
    DependenciesMet,
    /// The outstanding `Spawn`, if any, succeeds; the process heeds the stop signal or not, and may have a child.
    Spawned {
        heeds: bool,
        forks: bool,
    },
    SpawnFails,
    /// The living process ends, and stays a zombie until its end is told.
    Dies(Ended),
    /// The end of the oldest dead process is told.
    Told,
    /// A probe speaks of the present process, or (`late`) of one that is no more.
    Probe {
        kind: u8,
        late: bool,
    },
    /// Time goes on; a timer that came due is told.
    Wait(u64),
    /// A timer is told that nobody armed for now.
    OddTimer,
    /// An end is told of a process that never was ours.
    Stranger,
    Restart,
    Stop {
        within: u64,
    },
    Kill,
}

#[derive(Debug)]
struct Process {
    heeds: bool,
    dead: Option<Ended>,
}

struct World {
    policy: Policy,
    service: Service,
    now: Moment,
    timer: Option<Moment>,
    spawn_asked: bool,
    /// Every process that was not yet told as ended.
    table: BTreeMap<Pid, Process>,
    /// Groups in which a child of the main process still lives.
    leftovers: Vec<Pid>,
    born: Pid,
    told: u32,
    reported: u32,
    /// When the service restarted by itself.
    restarts: Vec<Moment>,
    deadline: Option<Moment>,
    ends: Vec<End>,
}

impl World {
    fn new(policy: Policy, seed: u64) -> Self {
        Self {
            policy,
            service: Service::new(Duration::ZERO, seed),
            now: Duration::ZERO,
            timer: None,
            spawn_asked: false,
            table: BTreeMap::new(),
            leftovers: Vec::new(),
            born: 100,
            told: 0,
            reported: 0,
            restarts: Vec::new(),
            deadline: None,
            ends: Vec::new(),
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::DependenciesMet => self.tell(Event::DependenciesMet),
            Act::Spawned { heeds, forks } => self.bear(heeds, forks),
            Act::SpawnFails => {
                if std::mem::take(&mut self.spawn_asked) {
                    let error = RunError::new(Exit::NOT_FOUND, "cannot start `app`", "");
                    self.tell(Event::SpawnFailed { error });
                }
            }
            Act::Dies(ended) => {
                if let Some(process) = self.table.values_mut().find(|it| it.dead.is_none()) {
                    process.dead = Some(ended);
                }
            }
            Act::Told => self.reap(),
            Act::Probe { kind, late } => self.probe(kind, late),
            Act::Wait(millis) => {
                self.now += Duration::from_millis(millis);
                self.ring();
            }
            Act::OddTimer => self.tell(Event::TimerElapsed),
            Act::Stranger => self.tell(Event::Exited {
                pid: 1,
                ended: Ended::Code(0),
            }),
            Act::Restart => self.tell(Event::RestartRequested),
            Act::Stop { within } => self.stop(Duration::from_millis(within)),
            Act::Kill => {
                self.deadline.get_or_insert(self.now);
                self.tell(Event::KillRequested);
            }
        }
    }

    fn stop(&mut self, within: Duration) {
        let deadline = self.now + within;
        self.deadline = Some(self.deadline.map_or(deadline, |first| first.min(deadline)));
        self.tell(Event::StopRequested { deadline });
    }

    fn bear(&mut self, heeds: bool, forks: bool) {
        if std::mem::take(&mut self.spawn_asked) {
            self.born += 1;
            let pid = self.born;
            self.table.insert(pid, Process { heeds, dead: None });
            if forks {
                self.leftovers.push(pid);
            }
            self.tell(Event::Spawned { pid });
        }
    }

    fn reap(&mut self) {
        let dead = self
            .table
            .iter()
            .find_map(|(pid, process)| Some((*pid, process.dead?)));
        if let Some((pid, ended)) = dead {
            self.table.remove(&pid);
            self.told += 1;
            self.tell(Event::Exited { pid, ended });
            assert!(
                !self.leftovers.contains(&pid),
                "a child of {pid} outlived it"
            );
        }
    }

    fn probe(&mut self, kind: u8, late: bool) {
        let pid = if late { self.born - 1 } else { self.born };
        let before = self.service.state.clone();
        self.tell(match kind % 3 {
            0 => Event::Ready { pid },
            1 => Event::Unready { pid },
            _ => Event::LivenessFailed { pid },
        });
        if late {
            assert_eq!(
                before, self.service.state,
                "a former process's probe counted"
            );
        }
    }

    fn ring(&mut self) {
        if self.timer.is_some_and(|at| at <= self.now) {
            self.timer = None;
            self.tell(Event::TimerElapsed);
        }
    }

    fn tell(&mut self, event: Event) {
        let before = self.service.clone();
        let by_itself = matches!(
            event,
            Event::TimerElapsed | Event::Exited { .. } | Event::SpawnFailed { .. }
        );
        let (after, effects) = on(before.clone(), event, &self.policy, self.now);
        if after.history.restarts > before.history.restarts {
            assert!(by_itself, "{before:?}");
            self.restarts.push(self.now);
        }
        self.service = after;
        for effect in effects {
            self.perform(effect);
        }
        self.check(&before);
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn => {
                assert!(!self.spawn_asked, "asked twice for a process");
                assert!(self.table.is_empty(), "a second process: {:?}", self.table);
                assert_eq!(self.deadline, None, "a start after a stop");
                self.spawn_asked = true;
            }
            Effect::Signal { pid, signal } => {
                assert_eq!(signal, self.policy.stop_signal);
                if let Some(process) = self.table.get_mut(&pid)
                    && process.heeds
                {
                    process.dead.get_or_insert(Ended::Signal(signal));
                }
            }
            Effect::KillGroup { pid } => {
                self.leftovers.retain(|leader| *leader != pid);
                if let Some(process) = self.table.get_mut(&pid) {
                    process.dead.get_or_insert(Ended::Signal(libc::SIGKILL));
                }
            }
            Effect::ArmTimer { at } => self.timer = Some(at),
            Effect::StartProbes { pid } => assert_eq!(pid, self.born),
            Effect::StopProbes => {}
            Effect::Report(Fact::Exited { .. }) => self.reported += 1,
            Effect::Report(_) => {}
            Effect::EndedForGood { end } => self.ends.push(end),
        }
    }

    /// What holds at every moment.
    fn check(&self, before: &Service) {
        let state = &self.service.state;
        let known = self.service.process().map(|process| process.pid);
        assert_eq!(
            self.table.keys().copied().collect::<Vec<_>>(),
            known.into_iter().collect::<Vec<_>>(),
            "the process it knows is the process there is ({state:?})"
        );
        assert_eq!(self.told, self.reported, "an end was lost");
        let asks = matches!(state, State::Starting | State::Recalled { .. });
        assert_eq!(asks, self.spawn_asked, "{state:?}");
        if let Some(at) = self.service.wakes_at() {
            assert!(
                self.timer.is_some_and(|timer| timer <= at),
                "{state:?} waits, and its timer stands at {:?}",
                self.timer
            );
            if let Some(deadline) = self.deadline {
                assert!(at <= deadline.max(self.now), "waits past the deadline");
            }
        }
        if let State::Backoff { until } = state
            && !matches!(before.state, State::Backoff { .. })
        {
            let pause = until.saturating_sub(self.now);
            let Backoff {
                initial,
                max,
                jitter,
                ..
            } = self.policy.backoff;
            assert!(pause <= max, "pause {pause:?}");
            assert!(pause >= initial.min(max).mul_f64(1.0 - jitter - 1e-6));
        }
        if let Some(budget) = self.policy.budget
            && let Some(last) = self.restarts.last()
        {
            let inside = |at: &&Moment| *last - **at < budget.window;
            let many = self.restarts.iter().filter(inside).count();
            assert!(many <= budget.max_restarts as usize, "{many} restarts");
        }
    }

    /// Lets the world do its part: starts are answered, ends are told, timers ring. Returns when all is quiet.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.bear(false, true);
            if let Some(at) = self.service.wakes_at() {
                self.now = self.now.max(at);
            }
            self.ring();
            self.reap();
        }
    }
}

fn any_act() -> impl Strategy<Value = Act> {
    let ended = prop_oneof![
        (0_u8..4).prop_map(Ended::Code),
        (1_i32..16).prop_map(Ended::Signal)
    ];
    prop_oneof![
        3 => Just(Act::DependenciesMet),
        8 => any::<(bool, bool)>().prop_map(|(heeds, forks)| Act::Spawned { heeds, forks }),
        1 => Just(Act::SpawnFails),
        6 => ended.prop_map(Act::Dies),
        8 => Just(Act::Told),
        3 => any::<(u8, bool)>().prop_map(|(kind, late)| Act::Probe { kind, late }),
        8 => (0_u64..8_000).prop_map(Act::Wait),
        1 => Just(Act::OddTimer),
        1 => Just(Act::Stranger),
        2 => Just(Act::Restart),
    ]
}

fn any_stop() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0_u64..20_000).prop_map(|within| Act::Stop { within }),
        1 => Just(Act::Kill),
    ]
}

/// Acts in any order; in about half of the lives a stop comes somewhere, and life goes on around it.
fn any_life() -> impl Strategy<Value = Vec<Act>> {
    let before = proptest::collection::vec(any_act(), 0..60);
    let after = proptest::collection::vec(prop_oneof![6 => any_act(), 1 => any_stop()], 0..30);
    (before, proptest::option::of((any_stop(), after))).prop_map(|(mut acts, stopped)| {
        if let Some((stop, after)) = stopped {
            acts.push(stop);
            acts.extend(after);
        }
        acts
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let restart = prop_oneof![
        3 => Just(Restart::Always),
        2 => Just(Restart::OnFailure),
        1 => Just(Restart::Never),
    ];
    let budget = proptest::option::of((0_u32..4, 1_u64..60_000));
    let times = (
        0_u64..2_000,
        1_u64..9_000,
        0_u64..9_000,
        0_u64..5_000,
        0_u64..3_000,
    );
    (restart, budget, times, 0.0..1.0_f64).prop_map(|(restart, budget, times, jitter)| {
        let ms = Duration::from_millis;
        let (initial, max, reset_after, stop_timeout, drain_delay) = times;
        Policy {
            restart,
            backoff: Backoff {
                initial: ms(initial),
                max: ms(max),
                jitter,
                ..Backoff::default()
            },
            reset_after: ms(reset_after),
            budget: budget.map(|(max_restarts, window)| RestartBudget {
                max_restarts,
                window: ms(window),
            }),
            stop_timeout: ms(stop_timeout),
            drain_delay: ms(drain_delay),
            ..Policy::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn in_any_order_nothing_is_doubled_or_lost_and_a_stop_always_ends(
        policy in any_policy(), seed in any::<u64>(), life in any_life(), last in any_stop(),
    ) {
        let mut world = World::new(policy, seed);
        for act in life {
            world.act(act);
        }
        world.act(last);
        let asked_at = world.now;
        world.settle();
        prop_assert!(world.service.end().is_some(), "never ended: {:?}", world.service);
        prop_assert!(world.table.is_empty() && world.leftovers.is_empty() && !world.spawn_asked);
        prop_assert!(world.now <= world.deadline.unwrap_or_default().max(asked_at), "ended late");
        prop_assert!(!world.ends.is_empty());
        let end = world.service.end().cloned();
        let told = world.ends.last().cloned();
        prop_assert!(
            matches!(end, Some(End::Stopped(_) | End::Overran(_))),
            "it can still be restarted: {end:?}"
        );
        if matches!(told, Some(End::Stopped(_) | End::Overran(_))) {
            prop_assert_eq!(told, end);
        }
    }

    #[test]
    fn left_alone_a_service_that_may_restart_runs_again(
        mut policy in any_policy(), seed in any::<u64>(), life in any_life(),
    ) {
        policy.restart = Restart::Always;
        policy.budget = None;
        let mut world = World::new(policy, seed);
        for act in life {
            if !matches!(act, Act::Stop { .. } | Act::Kill) {
                world.act(act);
            }
        }
        world.act(Act::DependenciesMet);
        world.settle();
        let running = matches!(world.service.state, State::Running { .. });
        prop_assert!(running, "{:?}", world.service);
        prop_assert!(world.ends.is_empty());
    }
}
