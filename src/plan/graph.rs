//! A role as a picture: its steps in a row, then its members by what they depend on. Mermaid for docs and reviews, SVG
//! for everything else.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Member, Plan};

/// The role as a Mermaid flowchart.
pub fn mermaid(plan: &Plan) -> String {
    let mut out = String::from("flowchart TD\n");
    let label = |text: &str| text.replace('"', "#quot;");
    let mut last = None;
    for (at, step) in plan.steps.iter().enumerate() {
        let _ = writeln!(out, "  step{at}[\"{}\"]", label(&step.title()));
        if let Some(before) = last {
            let _ = writeln!(out, "  step{before} --> step{at}");
        }
        last = Some(at);
    }
    let number: BTreeMap<&str, usize> = plan.members.keys().map(String::as_str).zip(0..).collect();
    for (name, member) in &plan.members {
        let at = number[name.as_str()];
        let (open, close) = match member {
            Member::Service(_) => ("([", "])"),
            Member::Loop(_) => ("{{", "}}"),
            Member::Queue(_) => ("[/", "/]"),
        };
        let _ = writeln!(
            out,
            "  member{at}{open}\"{}\"{close}",
            label(&title(name, member))
        );
        for (needed, dependency) in member.depends_on() {
            let Some(from) = number.get(needed.as_str()) else {
                continue;
            };
            let _ = writeln!(
                out,
                "  member{from} -- {} --> member{at}",
                dependency.condition.word()
            );
        }
        if member.depends_on().is_empty()
            && let Some(last) = last
        {
            let _ = writeln!(out, "  step{last} --> member{at}");
        }
    }
    out
}

/// What stands in a member's box.
fn title(name: &str, member: &Member) -> String {
    match member {
        Member::Service(service) if service.replicas.0 > 1 => {
            format!("service {name} × {}", service.replicas.0)
        }
        Member::Service(_) => format!("service {name}"),
        Member::Loop(spec) => match (spec.interval, spec.every) {
            (Some(interval), _) => format!("loop {name}, {interval} after each end"),
            (None, Some(every)) => format!("loop {name}, every {every}"),
            (None, None) => format!("loop {name}"),
        },
        Member::Queue(queue) => format!("queue {name}: {}", queue.queue.raw),
    }
}

/// The width of a letter and the height of a row, in SVG's units.
const LETTER: usize = 8;
const ROW: usize = 64;
const BOX: usize = 36;
const GAP: usize = 24;

/// A box of the picture.
struct Node {
    text: String,
    row: usize,
    x: usize,
    width: usize,
    rounded: bool,
}

impl Node {
    fn middle(&self) -> usize {
        self.x + self.width / 2
    }

    fn top(&self) -> usize {
        GAP + self.row * ROW
    }
}

/// The role as an SVG picture of its own.
pub fn svg(plan: &Plan) -> String {
    let mut nodes: Vec<Node> = Vec::new();
    let mut edges: Vec<(usize, usize, &str)> = Vec::new();
    for (row, step) in plan.steps.iter().enumerate() {
        nodes.push(node(&format!("{}. {}", row + 1, step.title()), row, false));
        if row > 0 {
            edges.push((row - 1, row, ""));
        }
    }
    let steps = nodes.len();
    let mut place: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, member) in &plan.members {
        // Members come after what they depend on, so their rows are known.
        let above = member
            .depends_on()
            .keys()
            .filter_map(|needed| place.get(needed.as_str()));
        let row = above.map(|at| nodes[*at].row + 1).max().unwrap_or(steps);
        let at = nodes.len();
        place.insert(name, at);
        nodes.push(node(&title(name, member), row, true));
        for (needed, dependency) in member.depends_on() {
            if let Some(from) = place.get(needed.as_str()) {
                edges.push((*from, at, dependency.condition.word()));
            }
        }
        if member.depends_on().is_empty() && steps > 0 {
            edges.push((steps - 1, at, ""));
        }
    }
    lay_out(&mut nodes);
    draw(&plan.role, &nodes, &edges)
}

fn node(text: &str, row: usize, rounded: bool) -> Node {
    let short: String = text.chars().take(70).collect();
    Node {
        width: (short.chars().count() + 4) * LETTER,
        text: short,
        row,
        x: 0,
        rounded,
    }
}

/// Boxes of one row side by side, each row in the middle.
fn lay_out(nodes: &mut [Node]) {
    let rows = nodes.iter().map(|node| node.row + 1).max().unwrap_or(0);
    let width_of = |nodes: &[Node], row| {
        let widths: Vec<usize> = nodes
            .iter()
            .filter(|n| n.row == row)
            .map(|n| n.width + GAP)
            .collect();
        widths.iter().sum::<usize>()
    };
    let widest = (0..rows).map(|row| width_of(nodes, row)).max().unwrap_or(0);
    for row in 0..rows {
        let mut x = GAP + (widest - width_of(nodes, row)) / 2;
        for node in nodes.iter_mut().filter(|node| node.row == row) {
            node.x = x;
            x += node.width + GAP;
        }
    }
}

fn draw(role: &str, nodes: &[Node], edges: &[(usize, usize, &str)]) -> String {
    let width = nodes
        .iter()
        .map(|node| node.x + node.width)
        .max()
        .unwrap_or(0)
        + GAP;
    let height = nodes.iter().map(Node::top).max().unwrap_or(0) + BOX + GAP;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"ui-monospace, monospace\" font-size=\"13\">\n<title>role {}</title>\n\
         <style>rect {{ fill: #f6f8fa; stroke: #57606a }} path {{ fill: none; stroke: #57606a }} text {{ fill: #1f2328; text-anchor: middle }} \
         .why {{ font-size: 11px; fill: #57606a }}</style>\n",
        escaped(role)
    );
    for (from, to, why) in edges {
        let (from, to) = (&nodes[*from], &nodes[*to]);
        let (x1, y1, x2, y2) = (from.middle(), from.top() + BOX, to.middle(), to.top());
        let bend = (y1 + y2) / 2;
        let _ = writeln!(
            out,
            "<path d=\"M{x1} {y1} C{x1} {bend} {x2} {bend} {x2} {y2}\"/>"
        );
        if !why.is_empty() {
            let _ = writeln!(
                out,
                "<text class=\"why\" x=\"{}\" y=\"{bend}\">{why}</text>",
                (x1 + x2) / 2 + 24
            );
        }
    }
    for node in nodes {
        let corner = if node.rounded { BOX / 2 } else { 4 };
        let _ = writeln!(
            out,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{BOX}\" rx=\"{corner}\"/>\n<text x=\"{}\" y=\"{}\">{}</text>",
            node.x,
            node.top(),
            node.width,
            node.middle(),
            node.top() + BOX / 2 + 5,
            escaped(&node.text)
        );
    }
    out.push_str("</svg>\n");
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
