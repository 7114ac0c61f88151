//! The table of the documentation of `Init`: what `^Z` and the three stop signals do to a program, its init and the
//! shell that waits for them, on a terminal.

use std::path::PathBuf;

use crate::action::ACTION;
use crate::harness::cases;
use crate::kernel::{state_of, until};
use crate::machine::Need::{Program, UserNamespaces};
use crate::terminal::Session;

cases! {
    the_terminal_stops_the_program_in_the_init_s_group [Program("bash")],
    the_terminal_stops_the_program_in_its_own_group [Program("bash")],
    the_terminal_stops_the_program_in_its_own_session [Program("bash")],
    the_terminal_stops_the_program_of_a_pid_1 [Program("bash"), UserNamespaces],
    a_signal_stops_the_program_in_the_init_s_group [Program("bash")],
    a_signal_stops_the_program_in_its_own_group [Program("bash")],
    a_signal_stops_the_program_in_its_own_session [Program("bash")],
    a_signal_stops_the_program_of_a_pid_1 [Program("bash"), UserNamespaces],
    a_program_that_reads_in_the_background_stops_the_job [Program("bash")],
    where_no_shell_would_continue_it_nothing_stops [],
    who_ignores_stops_is_not_stopped [Program("bash")],
    a_stop_while_others_are_waited_for_stops_the_init [Program("bash")],
}

const ROLES: [&str; 2] = ["subreaper", "neither"];

/// A job of a shell: an init and its program.
struct Job {
    session: Session,
    /// Where this trial's program sleeps a time of its own, to be found by.
    program: u32,
    init: u32,
}

fn line(how: &str, program: &str) -> String {
    let own = std::env::current_exe().unwrap();
    format!("{ACTION}='init:job={how},{program}' {}", own.display())
}

/// A process below this one with these arguments, and its parent.
fn find(arguments: &str) -> Option<(u32, u32)> {
    let wanted = format!("{}\0", arguments.replace(' ', "\0"));
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find_map(|pid: u32| {
        let found = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        (found == wanted.as_bytes()).then(|| Some((pid, parent(pid)?)))?
    })
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
}

/// No other trial's, nor of another run.
fn sleep(number: u32) -> String {
    format!("sleep 6{number}{}", std::process::id())
}

impl Job {
    fn start(how: &str, number: u32, prefix: &str) -> Self {
        let mut session = Session::shell(&[]);
        let program = sleep(number);
        session.command(&format!("{prefix}{}", line(how, &program)));
        Self::of(session, &program)
    }

    fn of(session: Session, program: &str) -> Self {
        until(|| find(program).is_some_and(|(pid, _)| state_of(pid) == 'S'));
        let (program, init) = find(program).unwrap();
        until(|| state_of(init) == 'S');
        Self { session, program, init }
    }

    fn states(&self) -> (char, char) {
        (state_of(self.program), state_of(self.init))
    }

    #[track_caller]
    fn become_so(&self, program: char, init: char) {
        until(|| self.states() == (program, init));
    }

    fn signal(&self, signal: i32) {
        // SAFETY: the init was not waited for.
        assert_eq!(unsafe { libc::kill(self.init.cast_signed(), signal) }, 0);
    }

    /// The shell has the terminal, and takes the job up again.
    #[track_caller]
    fn back_to_the_foreground(&mut self) {
        self.session.wait_for("Stopped");
        self.session.command("echo shell''again");
        self.session.wait_for("shellagain");
        let leader = self.leader();
        assert_eq!(state_of(leader), 'T');
        self.session.command("fg");
        until(|| state_of(leader) == 'S');
        self.become_so('S', 'S');
    }

    /// What the shell started.
    fn leader(&self) -> u32 {
        let shell = self.session.leader();
        let starter = parent(self.init).unwrap();
        if starter == shell { self.init } else { starter }
    }

    /// `^C` ends the program, wherever it is.
    #[track_caller]
    fn interrupt(mut self) {
        let leader = self.leader();
        self.session.send("\x03");
        until(|| ['-', 'Z'].contains(&state_of(leader)));
        self.session.command("echo status''is $?");
        self.session.wait_for("statusis 130");
        self.session.end(0);
    }

    /// Twice, since the second time it was continued before.
    fn stop_by_terminal(&mut self) {
        for _ in 0..2 {
            self.session.send("\x1a");
            self.become_so('T', 'T');
            self.back_to_the_foreground();
        }
    }

    fn stop_by_signal(&mut self) {
        for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
            self.signal(signal);
            self.become_so('T', 'T');
            self.back_to_the_foreground();
        }
    }
}

fn each_role(placement: &str, number: u32, stop: fn(&mut Job)) {
    for role in ROLES {
        let mut job = Job::start(&format!("{placement},{role}"), number, "");
        stop(&mut job);
        job.interrupt();
    }
}

fn the_terminal_stops_the_program_in_the_init_s_group() {
    each_role("same", 11, Job::stop_by_terminal);
}

fn the_terminal_stops_the_program_in_its_own_group() {
    each_role("group", 12, Job::stop_by_terminal);
}

fn the_terminal_stops_the_program_in_its_own_session() {
    each_role("session", 13, Job::stop_by_terminal);
}

fn a_signal_stops_the_program_in_the_init_s_group() {
    each_role("same", 21, Job::stop_by_signal);
}

fn a_signal_stops_the_program_in_its_own_group() {
    each_role("group", 22, Job::stop_by_signal);
}

fn a_signal_stops_the_program_in_its_own_session() {
    each_role("session", 23, Job::stop_by_signal);
}

/// The shell's job is the process that started the init.
fn the_terminal_stops_the_program_of_a_pid_1() {
    // That process is stopped with the program.
    let mut job = Job::start("same,first", 31, "");
    for _ in 0..2 {
        job.session.send("\x1a");
        job.become_so('T', 'S');
        job.back_to_the_foreground();
    }
    job.interrupt();
    // It is not, and the program is continued.
    let mut job = Job::start("group,first", 32, "");
    for _ in 0..2 {
        job.session.send("\x1a");
        job.session.wait_for("^Z");
        job.become_so('S', 'S');
    }
    job.interrupt();
    // It is, and the kernel does not let the program's session be stopped.
    let mut job = Job::start("session,first", 33, "");
    job.session.send("\x1a");
    job.back_to_the_foreground();
    job.interrupt();
}

fn a_signal_stops_the_program_of_a_pid_1() {
    for (number, how) in [(41, "same,first"), (42, "group,first")] {
        let job = Job::start(how, number, "");
        for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
            job.signal(signal);
            job.become_so('T', 'S');
            // It stays so.
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert_eq!(job.states(), ('T', 'S'), "{how}");
            job.signal(libc::SIGCONT);
            job.become_so('S', 'S');
        }
        job.interrupt();
    }
    let job = Job::start("session,first", 43, "");
    job.signal(libc::SIGTSTP);
    job.interrupt();
}

/// The kernel sends `SIGTTIN` to the program's group.
fn a_program_that_reads_in_the_background_stops_the_job() {
    for (number, placement) in ["same", "group"].into_iter().enumerate() {
        // Reads from the terminal, as `read` does.
        let program = format!("head -c 3{number}{}", std::process::id());
        let mut session = Session::shell(&[]);
        session.command(&format!("{} &", line(&format!("{placement},neither"), &program)));
        until(|| find(&program).is_some());
        let (program, init) = find(&program).unwrap();
        let mut job = Job { session, program, init };
        job.become_so('T', 'T');
        job.session.command("jobs");
        job.session.wait_for("Stopped");
        job.session.command("fg");
        job.become_so('S', 'S');
        job.session.send("hel''lo\n");
        job.session.wait_for("hel''lo");
        job.interrupt();
        // Brought back without a stop: then the shell sends no SIGCONT.
        let mut job = Job::start(&format!("{placement},neither"), 51, "");
        job.session.send("\x1a");
        job.back_to_the_foreground();
        job.session.send("\x1a");
        job.session.wait_for("Stopped");
        job.session.command("bg");
        job.become_so('S', 'S');
        job.session.command("fg");
        // The shell tells of it before it does it.
        let leader = job.leader();
        until(|| job.session.foreground() == leader);
        job.interrupt();
    }
}

/// Without job control around, as below `ssh -t`.
fn where_no_shell_would_continue_it_nothing_stops() {
    for (number, placement) in [(61, "same"), (62, "group"), (63, "session")] {
        let program = sleep(number);
        let own = std::env::current_exe().unwrap();
        let action = format!("{ACTION}=init:job={placement},neither,{program}");
        let env = PathBuf::from("/usr/bin/env");
        let session = Session::new(&env, &[&action, own.to_str().unwrap()]);
        let mut job = Job::of(session, &program);
        job.session.send("\x1a");
        job.session.wait_for("^Z");
        job.become_so('S', 'S');
        job.session.send("\x03");
        assert_eq!(job.session.status(), Some(130), "{placement}");
    }
}

fn who_ignores_stops_is_not_stopped() {
    let mut job = Job::start("same,neither", 71, "trap '' TSTP; ");
    job.session.send("\x1a");
    job.session.wait_for("^Z");
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(job.states(), ('S', 'S'));
    job.interrupt();
}

fn a_stop_while_others_are_waited_for_stops_the_init() {
    let mut session = Session::shell(&[]);
    let program = sleep(81);
    // The program ends at once, and leaves this one, which is adopted.
    session.command(&line("same,waits", &program));
    until(|| find(&program).is_some_and(|(pid, _)| state_of(pid) == 'S'));
    let (pid, _) = find(&program).unwrap();
    let is_init = |it| std::fs::read_link(format!("/proc/{it}/exe")).ok();
    let own = std::env::current_exe().ok();
    until(|| parent(pid).is_some_and(|parent| is_init(parent) == own));
    let mut job = Job::of(session, &program);
    job.stop_by_terminal();
    // A shell without job control has it ignore SIGINT.
    // SAFETY: the init waits for it.
    assert_eq!(unsafe { libc::kill(pid.cast_signed(), libc::SIGTERM) }, 0);
    job.session.wait_for("$ ");
    job.session.end(0);
}
