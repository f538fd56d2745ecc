//! `multihome diagram`: the host as a figure. It changes nothing and needs no privileges.

use std::path::Path;

use multihome_core::Scene;

use super::read::{Seen, look_at_all};
use crate::cli::{DiagramArgs, DiagramFormat};
use crate::config_files;
use crate::error::Failure;
use crate::output::{self, Style};
use crate::words::diagram::{dot, remedy, svg, text};

/// Draws the host.
pub fn diagram(named: Option<&Path>, args: &DiagramArgs) -> Result<u8, Failure> {
    let scene = scene(named, args)?;
    if args.reading.json {
        output::json(&scene)?;
    } else {
        output::text(&drawn(&scene, args.format, Style::stdout()))?;
    }
    Ok(0)
}

/// What `diagram` prints, without colours.
pub fn text(named: Option<&Path>, args: &DiagramArgs) -> Result<String, Failure> {
    Ok(drawn(&scene(named, args)?, args.format, Style::plain()))
}

fn drawn(scene: &Scene, format: DiagramFormat, style: Style) -> String {
    match format {
        DiagramFormat::Text => text::text(scene, style),
        DiagramFormat::Svg => svg::svg(scene),
        DiagramFormat::Dot => dot::dot(scene),
    }
}

fn scene(named: Option<&Path>, args: &DiagramArgs) -> Result<Scene, Failure> {
    let config = config_files::read(named)?;
    let (Seen { snapshot, plan, .. }, _) = look_at_all(&config, &args.reading)?;
    let (Some(from), Some(to)) = (args.from, args.to) else {
        return Ok(Scene::of(&snapshot, &plan));
    };
    Scene::of_request(&snapshot, &config, &plan, from, to)
        .map_err(|e| Failure::Question { what: e.to_string(), remedy: remedy(&e) })
}
