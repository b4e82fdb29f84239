//! A text as a QR code for terminals.

use dhtnet_cli::Failure;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use crate::desk::cannot;

/// Half blocks in UTF-8, with a quiet zone. What is light in the code is lit on the terminal, so
/// the code is right where the background is dark; cameras take the other case as well, mostly.
pub(crate) fn text(content: &str) -> Result<String, Failure> {
    let code = QrCode::new(content).map_err(|error| cannot("make the QR code", &error))?;
    let mut drawn = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build();
    drawn.push('\n');
    Ok(drawn)
}
