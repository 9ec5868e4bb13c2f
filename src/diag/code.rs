//! The codes of all diagnostics: one table, from which the docs are checked.

use super::Severity;
use Severity::{Error, Warning};

macro_rules! codes {
    ($($name:ident $code:literal $severity:ident $text:literal;)*) => {
        /// The stable name of a kind of mistake.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $text] $name,)*
        }

        impl Code {
            /// Every code, in the order of the docs.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// The kebab-case name.
            pub const fn name(self) -> &'static str {
                match self { $(Code::$name => $code),* }
            }

            /// One sentence on what the code is about.
            pub const fn about(self) -> &'static str {
                match self { $(Code::$name => $text),* }
            }

            /// What it is unless the author says otherwise.
            pub const fn severity(self) -> Severity {
                match self { $(Code::$name => $severity),* }
            }
        }
    };
}

codes! {
    FileUnreadable "file-unreadable" Error "A file cannot be read.";
    FileTooLarge "file-too-large" Error "A file is over 4 MiB.";
    FileNotUtf8 "file-not-utf8" Error "A file is not UTF-8.";
    YamlSyntax "yaml-syntax" Error "The text is not YAML.";
    YamlTab "yaml-tab" Error "A tab stands where YAML wants blanks.";
    YamlLimit "yaml-limit" Error "The file is too deep or too large once its aliases are expanded.";
    DuplicateKey "duplicate-key" Error "A key stands twice in one mapping.";
    UnknownKey "unknown-key" Error "A key that the language does not have.";
    MissingKey "missing-key" Error "A key that must be there is not.";
    WrongType "wrong-type" Error "A value of another type than expected.";
    BadValue "bad-value" Error "A value of the right type that cannot be used.";
    BadName "bad-name" Error "A name with characters that a name cannot have.";
    BadDuration "bad-duration" Error "A duration without a unit, or not a duration.";
    BadMode "bad-mode" Error "A file mode that is not an octal text, such as \"0600\".";
    UnknownSignal "unknown-signal" Error "A signal that does not exist.";
    StepKind "step-kind" Error "A step with no kind, or with two.";
    SettingKind "setting-kind" Error "A setting that is not exactly one of required, default or value.";
    ExpressionSyntax "expression-syntax" Error "An expression that cannot be read.";
    UnknownSetting "unknown-setting" Error "A name in an expression or template that is not declared.";
    UnknownFilter "unknown-filter" Error "A filter, test or function that expressions do not have.";
    TextComparison "text-comparison" Error "A text where a number or a truth value would be needed.";
    BareDollar "bare-dollar" Warning "A `$NAME` without braces, which stays as text.";
    SettingCycle "setting-cycle" Error "Settings that are derived from one another in a ring.";
    SecretTooEarly "secret-too-early" Error "A name that is needed before the secret is read, and has no other source.";
    SecretVisible "secret-visible" Error "A secret where everybody could see it: an argument, a URL or a log line.";
    SecretWritten "secret-written" Warning "A secret that stands in roles.yaml itself.";
    SettingUnused "setting-unused" Warning "A declared setting that nothing uses.";
    UnknownRole "unknown-role" Error "A role that roles.yaml does not have.";
    UnknownMember "unknown-member" Error "A dependency on a member that the role does not have.";
    DependencyCycle "dependency-cycle" Error "Members that wait for one another in a ring.";
    DependencyNeverMet "dependency-never-met" Error "A dependency that the other member can never meet.";
    ReadinessMissing "readiness-missing" Error "A dependency on readiness of a service that has no readiness.";
    PortClash "port-clash" Error "Two replicas or services on one port.";
    PortUnlisted "port-unlisted" Error "A replica's port that a file of `listed_in` does not list.";
    PortUnused "port-unused" Error "A port that a file of `listed_in` lists and no replica has.";
    StopBudget "stop-budget" Error "A stop that cannot fit its budget or the platform's.";
    EcsSize "ecs-size" Error "A task size that Fargate does not have.";
    LoopTimeout "loop-timeout" Warning "A loop whose run may take longer than its beat.";
    QueueWait "queue-wait" Warning "A receive that may outlast the stop's budget.";
    NoShell "no-shell" Warning "A shell's operator in a command, which no shell reads.";
    ShellInjection "shell-injection" Warning "A setting that becomes a part of a shell script.";
    TemplateMissing "template-missing" Error "A template that cannot be read.";
    IniPlace "ini-place" Error "An expression where an ini value cannot be escaped.";
    DuplicateDestination "duplicate-destination" Error "Two steps that write one file.";
    MessageSchema "message-schema" Error "A message schema that is not a JSON Schema.";
    NoDeadLetter "no-dead-letter" Warning "A handler that can reject, and no queue to put rejects in.";
    FifoMismatch "fifo-mismatch" Error "A dead-letter queue of another kind than its queue: FIFO and standard.";
    BadTarget "bad-target" Error "A URL or an address that cannot be.";
    CommandMissing "command-missing" Error "A program that is not found, with `--check-commands`.";
    ConstantCondition "constant-condition" Warning "A condition that is always true or always false.";
    GacSyntax "gac-syntax" Error "A GAC that is not a JSON object.";
    GacMissing "gac-missing" Error "A required key that neither the GAC nor the environment has.";
    GacPlaceholder "gac-placeholder" Error "A value that nobody has filled in.";
    GacType "gac-type" Error "A list or an object under a declared key.";
    GacDuplicate "gac-duplicate" Warning "A key that stands twice in the GAC; the last one counts.";
    GacUnknown "gac-unknown" Warning "A key of the GAC that no setting declares.";
    GacValue "gac-value" Warning "A value that breaks the place where it is used.";
    Assertion "assertion" Error "An assertion of roles.yaml that does not hold.";
    BadAllow "bad-allow" Warning "A `runner: allow` without a known code or without a reason.";
    UnusedAllow "unused-allow" Warning "A `runner: allow` that silences nothing.";
}

impl Code {
    /// Where the docs tell more: a path in this repository with an anchor.
    pub fn docs(self) -> String {
        format!("docs/diagnostics.md#{self}")
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
