//! Who takes part in a spawn, what each does next, what may happen to it, and what must never be.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Parent {
    StartHelper,
    Clone,
    /// Until the memory of whom it made is free (`CLONE_VFORK`).
    Asleep,
    /// Until the intermediate process has ended.
    AwaitMiddle,
    KillChild,
    /// The intermediate process was killed before it had come to its end.
    AwaitKilled,
    AwaitArrival,
    CallOff,
    AwaitHelper,
    /// It failed: nothing may be left. A child that was killed for it has been waited for.
    AwaitFailed,
    Returned {
        ok: bool,
    },
    Dead,
}

/// The process that becomes the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Child {
    Unborn,
    Born,
    Maps(Asker),
    Exec,
    /// Exec: the memory is free, and who sleeps for it awake.
    Released,
    /// Exec: in its time namespace.
    Program,
    Fail,
    /// The memory is free, but the process is still there.
    Ending,
    Dead,
}

/// The process that enters namespaces, or makes one that takes a birth, and then makes the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Middle {
    Unborn,
    Born,
    Maps(Asker),
    Clone,
    Asleep,
    Finish,
    Exit,
    Dead,
}

/// Whoever needs id maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Asker {
    Ask,
    AwaitHelper,
    ReadAnswer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Helper {
    Unborn,
    Born,
    CheckParent,
    Load,
    /// It saw that nobody had asked.
    Wait,
    Asleep,
    Open,
    Check(Whose),
    Write(Whose),
    Answer,
    Exit,
    Dead,
}

/// Whom a process number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Whose {
    Asker,
    Nobody,
    Stranger,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Empty,
    Asked,
    CalledOff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct World {
    parent: Parent,
    child: Child,
    middle: Middle,
    helper: Helper,
    // The slot.
    target: Target,
    written: bool,
    failed: bool,
    at_exec: bool,
    finished: bool,
    // The kernel's.
    /// Whether the helper dies with its parent.
    tied: bool,
    /// A SIGKILL on its way to the child.
    doomed: bool,
    number: Whose,
    strangers_maps: bool,
}

/// What a spawn is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) shares: bool,
    pub(crate) middle: bool,
    pub(crate) maps: bool,
    pub(crate) clocks: bool,
}

/// What is left out of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Without {
    Nothing,
    /// `CLONE_VFORK`.
    Sleep,
    /// A stack for the child of an intermediate process.
    OwnStack,
    /// The look at whether the intermediate process came to its end.
    Finished,
    /// The wait for the child that was killed for it.
    KilledAwaited,
    /// The comparison by which `futex(2)` sleeps only if the word is still what was read.
    Comparison,
    /// The load after a wake-up.
    Reload,
    CallingOff,
    /// The wait of the parent for the end of the helper.
    HelperAwaited,
    /// The wait of the child for the end of the helper, and not for its answer.
    EndAwaited,
    /// The helper's death with its parent.
    Tie,
    /// The helper's look at whether it had a parent to be tied to.
    ParentCheck,
    /// The helper's look at whether the process that asked lives.
    LifeCheck,
    Look,
    /// The wait for the end of a child that failed.
    FailedAwaited,
}

pub(crate) const EVERY_PART: [Without; 14] = [
    Without::Sleep,
    Without::OwnStack,
    Without::Finished,
    Without::KilledAwaited,
    Without::Comparison,
    Without::Reload,
    Without::CallingOff,
    Without::HelperAwaited,
    Without::EndAwaited,
    Without::Tie,
    Without::ParentCheck,
    Without::LifeCheck,
    Without::Look,
    Without::FailedAwaited,
];

impl World {
    pub(crate) fn new(scenario: Scenario) -> Self {
        Self {
            parent: if scenario.maps { Parent::StartHelper } else { Parent::Clone },
            child: Child::Unborn,
            middle: Middle::Unborn,
            helper: Helper::Unborn,
            target: Target::Empty,
            written: false,
            failed: false,
            at_exec: false,
            finished: false,
            tied: false,
            doomed: false,
            number: Whose::Asker,
            strangers_maps: false,
        }
    }

    fn with(self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self;
        change(&mut next);
        next
    }

    fn child_uses_memory(&self) -> bool {
        use Child::{Born, Exec, Fail, Maps};
        matches!(self.child, Born | Maps(_) | Exec | Fail)
    }

    fn middle_lives(&self) -> bool {
        !matches!(self.middle, Middle::Unborn | Middle::Dead)
    }

    fn helper_lives(&self) -> bool {
        !matches!(self.helper, Helper::Unborn | Helper::Dead)
    }

    fn asker_is_dead(&self, scenario: Scenario) -> bool {
        if scenario.middle { self.middle == Middle::Dead } else { self.child == Child::Dead }
    }
}

/// All that may happen next, but for accidents.
pub(crate) fn steps(world: World, scenario: Scenario, without: Without) -> Vec<World> {
    let mut next = Vec::new();
    next.extend(parent_step(world, scenario, without));
    // The clone may be refused.
    next.extend(
        (world.parent == Parent::Clone).then_some(World { parent: Parent::AwaitMiddle, ..world }),
    );
    child_steps(world, scenario, without, &mut next);
    middle_steps(world, scenario, without, &mut next);
    helper_steps(world, scenario, without, &mut next);
    next
}

fn parent_step(world: World, scenario: Scenario, without: Without) -> Option<World> {
    use Parent::{
        Asleep, AwaitArrival, AwaitFailed, AwaitHelper, AwaitKilled, AwaitMiddle, CallOff, Clone,
        KillChild, Returned, StartHelper,
    };
    // A child of a copy is watched, whatever becomes of who made it.
    let is_lost = scenario.middle && scenario.shares && !world.finished;
    let runs = world.at_exec && !world.failed && !is_lost;
    let after_helper = if runs && scenario.clocks && without != Without::Look {
        AwaitArrival
    } else {
        AwaitFailed
    };
    let after_clone = if scenario.maps { CallOff } else { after_helper };
    let on = |to| Some(World { parent: to, ..world });
    match world.parent {
        StartHelper => Some(World { parent: Clone, helper: Helper::Born, ..world }),
        Clone => {
            let to = if without == Without::Sleep { AwaitMiddle } else { Asleep };
            let made = World { parent: to, ..world };
            Some(if scenario.middle {
                World { middle: Middle::Born, ..made }
            } else {
                World { child: Child::Born, ..made }
            })
        }
        Asleep if scenario.middle => on(AwaitMiddle).filter(|_| !world.middle_lives()),
        Asleep => on(AwaitMiddle).filter(|_| !world.child_uses_memory()),
        AwaitMiddle if world.middle_lives() => None,
        AwaitMiddle if !is_lost || without == Without::Finished => on(after_clone),
        // The kernel wrote the child's pidfd if there is one.
        AwaitMiddle if world.child == Child::Unborn => on(after_clone),
        AwaitMiddle => on(KillChild),
        KillChild => Some(World { parent: AwaitKilled, doomed: true, ..world }),
        AwaitKilled if world.child == Child::Dead || without == Without::KilledAwaited => {
            on(after_clone)
        }
        AwaitArrival if world.child != Child::Released => on(Returned { ok: true }),
        CallOff if without == Without::CallingOff => on(AwaitHelper),
        CallOff => Some(woken(World { parent: AwaitHelper, target: Target::CalledOff, ..world })),
        AwaitHelper if !world.helper_lives() || without == Without::HelperAwaited => {
            on(after_helper)
        }
        AwaitFailed if runs && after_helper == AwaitArrival => on(AwaitArrival),
        AwaitFailed if runs => on(Returned { ok: true }),
        AwaitFailed
            if matches!(world.child, Child::Unborn | Child::Dead)
                || is_lost
                || without == Without::FailedAwaited =>
        {
            on(Returned { ok: false })
        }
        _ => None,
    }
}

fn woken(world: World) -> World {
    match world.helper {
        Helper::Asleep => World { helper: Helper::Load, ..world },
        _ => world,
    }
}

/// `None` for a wait that is not over; otherwise the asker's next state and its maps, if it has them now.
fn ask(world: World, asker: Asker, without: Without) -> Option<(World, Option<Asker>)> {
    match asker {
        Asker::Ask => {
            Some((woken(World { target: Target::Asked, ..world }), Some(Asker::AwaitHelper)))
        }
        Asker::AwaitHelper => {
            let over = match without {
                Without::EndAwaited => world.written,
                _ => !world.helper_lives(),
            };
            over.then_some((world, Some(Asker::ReadAnswer)))
        }
        Asker::ReadAnswer => Some((world, None)),
    }
}

fn child_steps(world: World, scenario: Scenario, without: Without, next: &mut Vec<World>) {
    use Child::{Born, Dead, Ending, Exec, Fail, Maps, Program, Released, Unborn};
    let on = |to| World { child: to, ..world };
    if world.doomed && !matches!(world.child, Unborn | Dead) {
        next.push(on(Dead));
    }
    match world.child {
        Born => {
            let asks = scenario.maps && !scenario.middle;
            next.push(on(if asks { Maps(Asker::Ask) } else { Exec }));
        }
        Maps(asker) => next.extend(ask(world, asker, without).map(|(world, asker)| {
            let done = if world.written { Exec } else { Fail };
            World { child: asker.map_or(done, Maps), ..world }
        })),
        Exec => {
            next.push(World { at_exec: true, ..on(Released) });
            next.push(World { at_exec: true, ..on(Fail) });
        }
        Released => next.push(on(Program)),
        Fail => next.push(World { failed: true, ..on(Ending) }),
        Ending => next.push(on(Dead)),
        Unborn | Program | Dead => {}
    }
}

fn middle_steps(world: World, scenario: Scenario, without: Without, next: &mut Vec<World>) {
    use Middle::{Asleep, Born, Clone, Dead, Exit, Finish, Maps, Unborn};
    let on = |to| World { middle: to, ..world };
    let failed = World { failed: true, ..on(Finish) };
    match world.middle {
        Born => next.push(on(if scenario.maps { Maps(Asker::Ask) } else { Clone })),
        Maps(asker) => next.extend(ask(world, asker, without).map(|(world, asker)| match asker {
            Some(asker) => World { middle: Maps(asker), ..world },
            None if world.written => World { middle: Clone, ..world },
            None => failed,
        })),
        Clone => {
            next.push(World { child: Child::Born, ..on(Asleep) });
            next.push(failed);
        }
        Asleep if !world.child_uses_memory() => next.push(on(Finish)),
        Finish => next.push(World { finished: true, ..on(Exit) }),
        Exit => next.push(on(Dead)),
        Asleep | Unborn | Dead => {}
    }
}

fn helper_steps(world: World, scenario: Scenario, without: Without, next: &mut Vec<World>) {
    use Helper::{
        Answer, Asleep, Born, Check, CheckParent, Dead, Exit, Load, Open, Unborn, Wait, Write,
    };
    let on = |to| World { helper: to, ..world };
    match world.helper {
        Born => next.push(World { tied: without != Without::Tie, ..on(CheckParent) }),
        CheckParent if world.parent == Parent::Dead && without != Without::ParentCheck => {
            next.push(on(Exit));
        }
        CheckParent => next.push(on(Load)),
        Load => next.push(on(match world.target {
            Target::Empty => Wait,
            Target::Asked => Open,
            Target::CalledOff => Exit,
        })),
        Wait if world.target != Target::Empty && without != Without::Comparison => {
            next.push(on(Load));
        }
        Wait => next.push(on(Asleep)),
        Open if world.number == Whose::Nobody => next.push(on(Exit)),
        Open => next.push(on(Check(world.number))),
        Check(_) if world.asker_is_dead(scenario) && without != Without::LifeCheck => {
            next.push(on(Exit));
        }
        Check(whose) => next.push(on(Write(whose))),
        Write(whose) => {
            let strangers_maps = world.strangers_maps || whose == Whose::Stranger;
            next.push(World { strangers_maps, ..on(Answer) });
        }
        Answer => next.push(World { written: true, ..on(Exit) }),
        Exit => next.push(on(Dead)),
        Asleep | Unborn | Dead => {}
    }
}

/// What may happen at any moment, and nobody may rely on.
pub(crate) fn accidents(world: World, scenario: Scenario, without: Without) -> Vec<World> {
    let mut next = Vec::new();
    if !matches!(world.parent, Parent::Returned { .. } | Parent::Dead) {
        next.push(world.with(|next| {
            next.parent = Parent::Dead;
            if next.tied && next.helper_lives() {
                next.helper = Helper::Dead;
            }
        }));
    }
    if !matches!(world.child, Child::Unborn | Child::Dead) {
        next.push(World { child: Child::Dead, ..world });
    }
    if world.middle_lives() {
        next.push(World { middle: Middle::Dead, ..world });
    }
    if world.helper_lives() {
        next.push(World { helper: Helper::Dead, ..world });
    }
    if world.helper == Helper::Asleep {
        // `futex(2)` may return for no reason.
        let to = if without == Without::Reload { Helper::Open } else { Helper::Load };
        next.push(World { helper: to, ..world });
    }
    // Another thread waits for whichever process, and its number goes to the next one.
    match world.number {
        Whose::Asker if world.asker_is_dead(scenario) => {
            next.push(World { number: Whose::Nobody, ..world });
        }
        Whose::Nobody => next.push(World { number: Whose::Stranger, ..world }),
        _ => {}
    }
    next
}

/// What must never be.
pub(crate) fn wrong(world: World, scenario: Scenario, without: Without) -> Option<&'static str> {
    use Parent::{Asleep, Clone, Dead, Returned, StartHelper};
    let sleeps = matches!(world.parent, StartHelper | Clone | Asleep | Dead);
    let own_stack = scenario.middle && without != Without::OwnStack;
    let on_our_stack = world.middle_lives() || (!own_stack && world.child_uses_memory());
    if scenario.shares && !sleeps && on_our_stack {
        return Some("the parent runs on a stack that is in use");
    }
    if let Returned { ok } = world.parent {
        let in_use = world.child_uses_memory() || world.middle_lives();
        if world.helper_lives() || (scenario.shares && in_use) {
            return Some("memory is freed that is in use");
        }
        if !ok && !matches!(world.child, Child::Unborn | Child::Dead) {
            return Some("a spawn failed, and its child is left");
        }
        if ok && scenario.clocks && world.child == Child::Released {
            return Some("a spawn answered before its child was in the time namespace");
        }
    }
    if world.helper == Helper::Open && world.target == Target::Empty {
        return Some("the helper serves nobody");
    }
    world.strangers_maps.then_some("a stranger got the maps")
}

pub(crate) fn is_over(world: World) -> bool {
    let parent = matches!(world.parent, Parent::Returned { .. } | Parent::Dead);
    let child = matches!(world.child, Child::Unborn | Child::Program | Child::Dead);
    parent && child && !world.middle_lives() && !world.helper_lives()
}
