//! The programs of continuous integration: the steps that must hold for every commit, and the kernel suite on other
//! kernels in virtual machines. `.ci/run` and `.ci/matrix` start it in the root directory of the repository.

#![forbid(unsafe_code)]
#![allow(clippy::incompatible_msrv, reason = "the newest stable Rust runs it")]

mod matrix;
mod run;
mod shell;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match &*arguments {
        ["run", dir, steps @ ..] => run::main(dir.as_ref(), steps),
        ["job", name] => run::job(name),
        ["matrix", "--table", arguments @ ..] => matrix::show(arguments),
        ["matrix", arguments @ ..] => matrix::main(arguments),
        _ => Err("usage: .ci/run [STEP]..., .ci/matrix".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("{}", failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}
