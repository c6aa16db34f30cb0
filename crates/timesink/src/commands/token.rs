//! `timesink token`: a secret for whoever asks a server, and its hash for the server.

use std::io::Write;

use anyhow::Result;
use timesink_server::{Key, Role, Token};

use super::Run;
use crate::cli::{TokenArgs, TokenRole};
use crate::config::quoted;
use crate::ended::{Ended, once_written};

pub(super) fn run(args: &TokenArgs, run: &mut Run<'_>) -> Result<Ended> {
    let role = match args.role {
        TokenRole::Ingest => Role::Ingest,
        TokenRole::Read => Role::Read,
        TokenRole::Admin => Role::Admin,
    };
    let token = Token::random()?;
    let key = Key::of(&args.name, role, &token)?;
    let written = writeln!(
        run.console.out,
        "# The secret, shown this once: `Authorization: Bearer {}`\n\
         # For timesink.toml, which knows only its hash:\n\
         [[serve.tokens]]\nname = {}\nrole = {}\nhash = {}",
        token.secret(),
        quoted(&args.name),
        quoted(role.as_str()),
        quoted(&key.text()),
    );
    once_written(written.map_err(Into::into), Ended::Done)
}
