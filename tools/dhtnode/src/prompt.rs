//! The prompt: a line is a command. On a terminal with history and editing; without one the lines
//! come from stdin as they are.

mod lines;

use std::fs::File;
use std::io::IsTerminal;

use clap::{CommandFactory, FromArgMatches};
use dhtnet_cli::command_line::{Stop, stop_for};
use dhtnet_cli::{ExitCode, Failure, Shutdown};

use crate::flags::{Line, LineCommand};
use crate::output::{Form, Halt};
use crate::prompt::lines::{Input, Lines};
use crate::session::{How, Session};
use crate::{verbs, words};

/// The lines that were typed before, in the state directory.
const HISTORY: &str = "dhtnode.history";

/// Carries out line after line until there are no more, or the tool is to end. On a terminal a
/// command that fails is the user's to see; without one it is the exit code.
pub(crate) async fn run(
    session: &Session,
    stdin: File,
    how: &How,
    shutdown: &mut Shutdown,
) -> Result<ExitCode, Halt> {
    let is_terminal = stdin.is_terminal();
    let mut lines = if is_terminal {
        session
            .talk
            .note("a node of the DHT; help tells what can be done, Ctrl-D leaves");
        Lines::edited(&session.place.state_file(HISTORY)?)?
    } else {
        Lines::plain(stdin)?
    };
    // On a terminal Ctrl-C ends the command that runs and not the tool.
    let mut interrupts = is_terminal.then(|| shutdown.divert_interrupts());
    let mut last = ExitCode::Done;
    let mut grammar = Line::command();
    loop {
        let input = tokio::select! {
            input = lines.next() => input,
            code = shutdown.requested() => return Ok(code),
        };
        let line = match input {
            Input::Line(line) => line,
            Input::Interrupted => continue,
            Input::End => return Ok(last),
            Input::Failed(why) => {
                return Err(Failure::failed(format!("cannot read commands: {why}")).into());
            }
        };
        let interrupted = async {
            match &mut interrupts {
                Some(interrupts) => interrupts.next().await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            ended = carry_out(&line, &mut grammar, session, how) => ended,
            () = interrupted => {
                session.talk.note("cancelled");
                Ok(Next::Line)
            }
            code = shutdown.requested() => return Ok(code),
        };
        match ended {
            Ok(Next::Line) => {}
            Ok(Next::Leave) => return Ok(last),
            Err(Halt::Failure(failure)) => {
                session.talk.error(&failure);
                if !is_terminal {
                    last = failure.code();
                }
            }
            Err(quiet) => return Err(quiet),
        }
    }
}

/// What comes after a line.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Line,
    Leave,
}

async fn carry_out(
    line: &str,
    grammar: &mut clap::Command,
    session: &Session,
    how: &How,
) -> Result<Next, Halt> {
    let line = match parse(line, grammar) {
        Ok(Some(line)) => line,
        Ok(None) => return Ok(Next::Line),
        Err(Stop::Text(text)) => {
            how.output.write(text.as_bytes())?;
            return Ok(Next::Line);
        }
        Err(Stop::Failure(failure)) => return Err(failure.into()),
    };
    let verb = match line.command {
        LineCommand::Exit => return Ok(Next::Leave),
        LineCommand::Verb(verb) => verb,
    };
    let how = How {
        output: if line.how.json {
            how.output.in_form(Form::Json)
        } else {
            how.output.clone()
        },
        remote: line.how.remote.or_else(|| how.remote.clone()),
        limit: line.timeout.unwrap_or(how.limit),
        stdin: None,
    };
    verbs::run(&verb, session, &how).await?;
    Ok(Next::Line)
}

/// Understands one line; an empty one is nothing. `grammar` is that of [`Line`], made once for all
/// lines.
fn parse(line: &str, grammar: &mut clap::Command) -> Result<Option<Line>, Stop> {
    let words = words::split(line).map_err(|error| {
        Failure::usage(error.to_string()).advise("close it, or use other quotes")
    })?;
    if words.is_empty() {
        return Ok(None);
    }
    grammar
        .try_get_matches_from_mut(words)
        .and_then(|matches| Line::from_arg_matches(&matches))
        .map(Some)
        .map_err(|error| stop_for("help", &error.format(grammar)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::flags::Verb;

    fn parse(line: &str) -> Result<Option<Line>, Stop> {
        super::parse(line, &mut Line::command())
    }

    fn failure(line: &str) -> String {
        match parse(line) {
            Err(Stop::Failure(failure)) => {
                assert_eq!(failure.code(), ExitCode::Usage);
                failure.to_string()
            }
            other => panic!("no failure: {other:?}"),
        }
    }

    #[test]
    fn a_line_is_a_command_with_its_flags() {
        let line = parse("put 'hello world' --json -w 5").unwrap().unwrap();
        assert!(line.how.json);
        assert_eq!(line.timeout, Some(std::time::Duration::from_secs(5)));
        let LineCommand::Verb(verb) = line.command else {
            panic!()
        };
        let Verb::Put(put) = *verb else { panic!() };
        assert_eq!(put.value, ["hello world"]);
        assert!(parse("  # nothing").unwrap().is_none());
        for leave in ["exit", "quit", "q"] {
            assert!(matches!(
                parse(leave).unwrap().unwrap().command,
                LineCommand::Exit
            ));
        }
    }

    #[test]
    fn help_names_every_command_and_explains_each() {
        let Err(Stop::Text(text)) = parse("help") else {
            panic!()
        };
        for command in [
            "get",
            "put",
            "listen",
            "find-node",
            "announce",
            "crawl",
            "doctor",
            "exit",
        ] {
            assert!(
                text.contains(&format!("\n  {command} ")),
                "{command}: {text}"
            );
        }
        let Err(Stop::Text(text)) = parse("help put") else {
            panic!()
        };
        assert!(text.contains("--salt") && text.contains("put"), "{text}");
    }

    #[test]
    fn a_line_that_is_not_understood_is_told_in_one_line() {
        assert_eq!(
            failure("put 'open"),
            "the quote ' is not closed; close it, or use other quotes"
        );
        assert!(
            failure("frobnicate").ends_with("; see help"),
            "{}",
            failure("frobnicate")
        );
        assert!(failure("get").ends_with("; see help"), "{}", failure("get"));
        assert!(
            failure("ping nowhere").contains("not HOST:PORT"),
            "{}",
            failure("ping nowhere")
        );
    }

    #[test]
    fn a_line_leaves_nothing_behind_for_the_next_one() {
        let mut grammar = Line::command();
        for _ in 0..2 {
            let mut parse = |line: &str| super::parse(line, &mut grammar);
            let flags = parse("get key --json -w 5").unwrap().unwrap();
            assert!(flags.how.json && flags.timeout.is_some());
            let plain = parse("get key").unwrap().unwrap();
            assert!(!plain.how.json && plain.timeout.is_none());
            assert!(parse("get").is_err());
            assert!(matches!(parse("help put"), Err(Stop::Text(text)) if text.contains("--salt")));
            assert!(matches!(parse("help"), Err(Stop::Text(text)) if text.contains("\n  put ")));
        }
    }
}
