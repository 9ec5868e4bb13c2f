//! What the platform can grant: the sizes of a Fargate task.

use super::Cx;
use crate::diag::{Code, Diagnostic};

/// CPU units, then the least and the most memory and the step between, in MiB (Amazon ECS API,
/// `RegisterTaskDefinition.memory`).
const FARGATE: &[(u32, u32, u32, u32)] = &[
    (256, 512, 2048, 512),
    (512, 1024, 4096, 1024),
    (1024, 2048, 8192, 1024),
    (2048, 4096, 16384, 1024),
    (4096, 8192, 30720, 1024),
    (8192, 16384, 61440, 4096),
    (16384, 32768, 122_880, 8192),
];

/// Whether Fargate has tasks of a size.
fn fits(memory: u32, (cpu, least, most, step): (u32, u32, u32, u32)) -> bool {
    let between = (least..=most).contains(&memory) && (memory - least).is_multiple_of(step);
    // The smallest has three sizes alone: 512, 1024 and 2048.
    between && (cpu != 256 || memory != 1536)
}

pub fn check(cx: &mut Cx<'_>) {
    let roles = cx.roles;
    let platform = &roles.file.platform;
    let Some(cpu) = platform.cpu else { return };
    let place = roles.value_place(&["platform", "cpu"]);
    let Some(row) = FARGATE.iter().find(|row| row.0 == cpu) else {
        let sizes: Vec<String> = FARGATE.iter().map(|row| row.0.to_string()).collect();
        cx.diagnostics.push(
            Diagnostic::new(
                Code::EcsSize,
                place,
                format!("Fargate has no task of {cpu} CPU units"),
            )
            .help(format!("it has {}; 1024 are one CPU", sizes.join(", "))),
        );
        return;
    };
    let Some(memory) = platform.memory else {
        return;
    };
    if !fits(memory, *row) {
        let (cpu, least, most, step) = *row;
        let sizes = match cpu {
            256 => "512, 1024 or 2048".to_owned(),
            _ => format!("{least} to {most} in steps of {step}"),
        };
        cx.diagnostics.push(
            Diagnostic::new(
                Code::EcsSize,
                roles.value_place(&["platform", "memory"]),
                format!("Fargate has no task of {cpu} CPU units with {memory} MiB"),
            )
            .related(place, "with so many CPU units")
            .help(format!("with {cpu} CPU units it has {sizes} MiB")),
        );
    }
}
