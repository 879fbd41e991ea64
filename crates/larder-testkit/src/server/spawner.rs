//! Starts child processes on a thread that lives as long as the test process.
//!
//! A child that asks to die with its parent dies with the *thread* that started it; test threads end too early.

use std::{
    env,
    io::{self, Error},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{
        OnceLock,
        mpsc::{Sender, channel},
    },
    thread,
};

type Order = (Command, Sender<io::Result<Child>>);

/// Starts `command`.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        thread::Builder::new()
            .name("larder-testkit-spawner".into())
            .spawn(move || {
                for (mut command, answer) in inbox {
                    // Whoever asked may be gone; the child is then dropped, and dies with this process.
                    drop(answer.send(command.spawn()));
                }
            })
            .expect("a test process can start a thread");
        orders
    });
    let (answer, answered) = channel();
    spawner.send((command, answer)).map_err(|_| Error::other("the spawner thread ended"))?;
    answered.recv().map_err(|_| Error::other("the spawner thread ended"))?
}

/// A command that runs `program` and, where util-linux' `setpriv` is at hand, has the kernel kill it when this
/// process dies, however it dies. Elsewhere a killed test leaves its servers behind.
pub(crate) fn dying_with_us(program: &Path) -> Command {
    let Some(setpriv) = find_in_path("setpriv").filter(|_| cfg!(target_os = "linux")) else {
        return Command::new(program);
    };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Where in `PATH` a program is.
pub(crate) fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}
