//! Who comes before whom: the members of a role and what they depend on.
//!
//! Pure and about names alone, read by `validate` and by the engine alike. An [`Order`] can only be had where there
//! is no ring. Wherever an order leaves a choice, the one in which members were declared decides.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

/// The members of a role, known to be without a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order<'a> {
    names: Vec<&'a str>,
    /// For each member, what it depends on.
    needs: Vec<Vec<usize>>,
    /// For each member, what depends on it.
    wanted_by: Vec<Vec<usize>>,
    /// All members, each after what it depends on.
    start: Vec<usize>,
}

/// Members that depend on each other: each on the next, the last on the first, which is the one declared first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring<'a>(pub Vec<&'a str>);

impl std::fmt::Display for Ring<'_> {
    /// `a → b → a`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for name in &self.0 {
            write!(f, "{name} → ")?;
        }
        f.write_str(self.0.first().unwrap_or(&""))
    }
}

impl<'a> Order<'a> {
    /// Orders `members`, given in the order of their declaration; an edge is *(dependent, what it depends on)*.
    ///
    /// An edge with a name that is no member is passed over (its check is another one's), a name given twice counts
    /// once. The error is the rings, no member in two of them, so that each mistake is shown once.
    pub fn new(
        members: impl IntoIterator<Item = &'a str>,
        edges: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Vec<Ring<'a>>> {
        let mut names = Vec::new();
        let mut places = HashMap::new();
        for name in members {
            places.entry(name).or_insert_with(|| {
                names.push(name);
                names.len() - 1
            });
        }
        let mut needs = vec![Vec::new(); names.len()];
        let mut wanted_by = vec![Vec::new(); names.len()];
        let mut seen = HashSet::new();
        for (dependent, needed) in edges {
            if let (Some(&from), Some(&to)) = (places.get(dependent), places.get(needed))
                && seen.insert((from, to))
            {
                needs[from].push(to);
                wanted_by[to].push(from);
            }
        }
        let (start, rings) = peel(&needs, &wanted_by);
        if !rings.is_empty() {
            let named = |ring: Vec<usize>| Ring(ring.into_iter().map(|at| names[at]).collect());
            return Err(rings.into_iter().map(named).collect());
        }
        Ok(Self {
            names,
            needs,
            wanted_by,
            start,
        })
    }

    /// All members, each after what it depends on.
    pub fn start_order(&self) -> impl Iterator<Item = &'a str> {
        self.start.iter().map(|&at| self.names[at])
    }

    /// What `member` itself depends on; nothing for an unknown name.
    pub fn dependencies(&self, member: &str) -> impl Iterator<Item = &'a str> {
        self.neighbours(&self.needs, member)
    }

    /// What itself depends on `member`; nothing for an unknown name.
    pub fn dependents(&self, member: &str) -> impl Iterator<Item = &'a str> {
        self.neighbours(&self.wanted_by, member)
    }

    /// The members that may be told to stop now: they live, and nothing that depends on them does.
    ///
    /// Asked again after each end, this stops every member at the earliest moment, sooner than wave by wave.
    pub fn may_stop(&self, lives: impl Fn(&str) -> bool) -> Vec<&'a str> {
        let free = |at: &usize| {
            lives(self.names[*at]) && !self.wanted_by[*at].iter().any(|&by| lives(self.names[by]))
        };
        let all = 0..self.names.len();
        all.filter(free).map(|at| self.names[at]).collect()
    }

    /// The members by the wave in which they stop when all take equally long: dependents before what they depend on.
    /// For showing a plan; the engine asks [`may_stop`](Self::may_stop).
    pub fn stop_waves(&self) -> Vec<Vec<&'a str>> {
        let mut wave_of = vec![0; self.names.len()];
        let mut waves: Vec<Vec<&'a str>> = Vec::new();
        for &at in self.start.iter().rev() {
            let later_than = self.wanted_by[at].iter().map(|&by| wave_of[by] + 1);
            wave_of[at] = later_than.max().unwrap_or(0);
        }
        for (name, &wave) in self.names.iter().zip(&wave_of) {
            if waves.len() <= wave {
                waves.resize(wave + 1, Vec::new());
            }
            waves[wave].push(name);
        }
        waves
    }

    /// The chain that takes longest to stop, its first to stop first, and how long that is at most, where one
    /// member alone takes `takes(name)` (its `drain_delay` and `stop_timeout`).
    pub fn longest_stop(&self, takes: impl Fn(&str) -> Duration) -> (Duration, Vec<&'a str>) {
        // For each member: when it has stopped at the latest, and which dependent it waited for longest.
        let mut done: Vec<(Duration, Option<usize>)> =
            vec![(Duration::ZERO, None); self.names.len()];
        let mut last = None;
        for &at in self.start.iter().rev() {
            let mut waited = (Duration::ZERO, None);
            for &by in &self.wanted_by[at] {
                if waited.1.is_none() || done[by].0 > waited.0 {
                    waited = (done[by].0, Some(by));
                }
            }
            done[at] = (waited.0.saturating_add(takes(self.names[at])), waited.1);
            if last.is_none_or(|last: usize| done[at].0 > done[last].0) {
                last = Some(at);
            }
        }
        let longest = last.map_or(Duration::ZERO, |at| done[at].0);
        let mut chain = Vec::new();
        while let Some(at) = last {
            chain.push(self.names[at]);
            last = done[at].1;
        }
        chain.reverse();
        (longest, chain)
    }

    fn neighbours(&self, of: &[Vec<usize>], member: &str) -> impl Iterator<Item = &'a str> {
        let place = self.names.iter().position(|name| *name == member);
        let found = place.map_or_else(Vec::new, |at| of[at].clone());
        found.into_iter().map(|at| self.names[at])
    }
}

/// Takes away, again and again, the members that need nothing any more; where none is left, one ring.
///
/// Without recursion: a role with ten thousand members in a row must not exhaust the stack.
fn peel(needs: &[Vec<usize>], wanted_by: &[Vec<usize>]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut open: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut gone = vec![false; needs.len()];
    let mut order = Vec::with_capacity(needs.len());
    let mut rings = Vec::new();
    let mut first_left = 0;
    let mut free: BTreeSet<usize> = (0..needs.len()).filter(|&at| open[at] == 0).collect();
    loop {
        while let Some(at) = free.pop_first() {
            gone[at] = true;
            order.push(at);
            release(at, wanted_by, &gone, &mut open, &mut free);
        }
        while gone.get(first_left) == Some(&true) {
            first_left += 1;
        }
        if first_left == needs.len() {
            return (order, rings);
        }
        let ring = ring_from(first_left, needs, &gone);
        for &at in &ring {
            gone[at] = true;
        }
        for &at in &ring {
            release(at, wanted_by, &gone, &mut open, &mut free);
        }
        rings.push(ring);
    }
}

/// Those who needed `at` need one less.
fn release(
    at: usize,
    wanted_by: &[Vec<usize>],
    gone: &[bool],
    open: &mut [usize],
    free: &mut BTreeSet<usize>,
) {
    for &by in &wanted_by[at] {
        open[by] -= 1;
        if open[by] == 0 && !gone[by] {
            free.insert(by);
        }
    }
}

/// The ring that one comes to from `start`, going from each member to the first that it still needs. There is always
/// one: what needs nothing was taken away.
fn ring_from(start: usize, needs: &[Vec<usize>], gone: &[bool]) -> Vec<usize> {
    let mut path = vec![start];
    let mut place_in_path = HashMap::from([(start, 0)]);
    let mut at = start;
    while let Some(&next) = needs[at].iter().find(|&&next| !gone[next]) {
        if let Some(&place) = place_in_path.get(&next) {
            path.drain(..place);
            break;
        }
        place_in_path.insert(next, path.len());
        path.push(next);
        at = next;
    }
    let first = (0..path.len()).min_by_key(|&place| path[place]);
    path.rotate_left(first.unwrap_or(0));
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PORTAL: [&str; 4] = ["nginx", "app", "cache", "cron"];
    const NEEDS: [(&str, &str); 3] = [("nginx", "app"), ("app", "cache"), ("nginx", "cache")];

    fn portal() -> Order<'static> {
        Order::new(PORTAL, NEEDS).unwrap()
    }

    #[test]
    fn what_is_needed_starts_first_and_stops_last() {
        let order = portal();
        let start: Vec<_> = order.start_order().collect();
        assert_eq!(start, ["cache", "app", "nginx", "cron"]);
        assert_eq!(
            order.stop_waves(),
            [vec!["nginx", "cron"], vec!["app"], vec!["cache"]]
        );
        let needed: Vec<_> = order.dependencies("nginx").collect();
        assert_eq!(needed, ["app", "cache"]);
        let dependents: Vec<_> = order.dependents("cache").collect();
        assert_eq!(dependents, ["app", "nginx"]);
        assert_eq!(order.dependents("unknown").count(), 0);
    }

    #[test]
    fn a_member_may_stop_as_soon_as_nothing_alive_needs_it() {
        let order = portal();
        assert_eq!(order.may_stop(|_| true), ["nginx", "cron"]);
        assert_eq!(order.may_stop(|name| name != "nginx"), ["app", "cron"]);
        assert_eq!(order.may_stop(|name| name == "cache"), ["cache"]);
        assert!(order.may_stop(|_| false).is_empty());
    }

    #[test]
    fn the_longest_stop_is_the_longest_chain_not_the_sum_of_all() {
        let takes = |name: &str| {
            Duration::from_secs(match name {
                "nginx" => 5,
                "app" => 10,
                "cache" => 1,
                _ => 15,
            })
        };
        let (longest, chain) = portal().longest_stop(takes);
        assert_eq!(longest, Duration::from_secs(16));
        assert_eq!(chain, ["nginx", "app", "cache"]);
        let nobody = Order::new([], []).unwrap();
        assert_eq!(nobody.longest_stop(takes), (Duration::ZERO, vec![]));
        let (_, chain) = portal().longest_stop(|_| Duration::ZERO);
        assert!(!chain.is_empty());
    }

    #[test]
    fn every_ring_is_shown_once_and_what_leads_to_it_is_not() {
        let members = ["lead", "b", "a", "c", "self", "x", "y", "free"];
        let edges = [
            ("lead", "a"),
            ("a", "b"),
            ("b", "c"),
            ("c", "a"),
            ("self", "self"),
            ("x", "y"),
            ("y", "x"),
            ("free", "nobody"),
        ];
        let rings = Order::new(members, edges).unwrap_err();
        let shown: Vec<String> = rings.iter().map(Ring::to_string).collect();
        assert_eq!(shown, ["b → c → a → b", "self → self", "x → y → x"]);
    }

    #[test]
    fn a_long_row_is_no_trouble() {
        let names: Vec<String> = (0..20_000).map(|at| at.to_string()).collect();
        let members = || names.iter().map(String::as_str);
        let edges = || members().zip(members().skip(1));
        let order = Order::new(members(), edges()).unwrap();
        assert_eq!(order.start_order().next(), Some("19999"));
        assert_eq!(
            order.longest_stop(|_| Duration::from_secs(1)).1.len(),
            20_000
        );
        let back = [("19999", "0")];
        let rings = Order::new(members(), edges().chain(back)).unwrap_err();
        assert_eq!((rings.len(), rings[0].0.len()), (1, 20_000));
    }

    /// Members 0 to 7 and edges among them; `acyclic` edges go from higher to lower numbers only.
    fn graph(acyclic: bool) -> impl Strategy<Value = Vec<(usize, usize)>> {
        proptest::collection::vec((0_usize..8, 0_usize..8), 0..16).prop_map(move |edges| {
            let down = |(from, to): (usize, usize)| (from.max(to), from.min(to));
            let edges = edges.into_iter();
            if acyclic {
                edges.map(down).filter(|(from, to)| from != to).collect()
            } else {
                edges.collect()
            }
        })
    }

    const NAMES: [&str; 8] = ["m3", "m6", "m0", "m7", "m1", "m5", "m2", "m4"];

    fn named(edges: &[(usize, usize)]) -> Vec<(&'static str, &'static str)> {
        let name = |&(from, to): &(usize, usize)| (NAMES[from], NAMES[to]);
        edges.iter().map(name).collect()
    }

    proptest! {
        #[test]
        fn an_order_holds_every_edge_and_its_longest_chain_is_what_stopping_takes(
            edges in graph(true), weights in proptest::array::uniform8(0_u64..50),
        ) {
            let edges = named(&edges);
            let order = Order::new(NAMES, edges.clone()).unwrap();
            let start: Vec<_> = order.start_order().collect();
            prop_assert_eq!(start.len(), NAMES.len());
            let place = |name| start.iter().position(|it| *it == name);
            let waves = order.stop_waves();
            let wave = |name| waves.iter().position(|wave| wave.contains(&name));
            for (dependent, needed) in edges {
                prop_assert!(place(needed) < place(dependent));
                prop_assert!(wave(dependent) < wave(needed));
            }

            // Stop them for real, each as soon as it may, and look at the clock at the end.
            let takes = |name: &str| Duration::from_secs(
                NAMES.iter().position(|it| *it == name).map_or(0, |at| weights[at]),
            );
            let mut now = Duration::ZERO;
            let mut living: Vec<&str> = NAMES.to_vec();
            let mut stopping: Vec<(Duration, &str)> = Vec::new();
            while !living.is_empty() {
                for name in order.may_stop(|name| living.contains(&name)) {
                    if !stopping.iter().any(|(_, it)| *it == name) {
                        stopping.push((now + takes(name), name));
                    }
                }
                let next = stopping.iter().min().copied();
                let (at, name) = next.expect("somebody may always stop");
                now = at;
                stopping.retain(|(_, it)| *it != name);
                living.retain(|it| *it != name);
            }
            let (longest, chain) = order.longest_stop(takes);
            prop_assert_eq!(longest, now);
            prop_assert_eq!(chain.iter().map(|name| takes(name)).sum::<Duration>(), longest);
        }

        #[test]
        fn a_ring_is_found_exactly_where_there_is_one(edges in graph(false)) {
            // A ring exists exactly when somebody can reach himself.
            let mut reach = [[false; 8]; 8];
            for &(from, to) in &edges {
                reach[from][to] = true;
            }
            for via in 0..8 {
                for from in 0..8 {
                    for to in 0..8 {
                        reach[from][to] |= reach[from][via] && reach[via][to];
                    }
                }
            }
            let edges = named(&edges);
            let found = Order::new(NAMES, edges.clone());
            prop_assert_eq!(found.is_err(), (0..8).any(|at| reach[at][at]));
            for Ring(ring) in found.err().into_iter().flatten() {
                let next = ring.iter().cycle().skip(1);
                for (from, to) in ring.iter().zip(next) {
                    prop_assert!(edges.contains(&(*from, *to)), "{:?} is no ring", ring);
                }
            }
        }
    }
}
