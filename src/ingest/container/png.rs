//! PNG: every chunk up to IEND, each with its CRC.

use std::io::{Read, Seek};

use super::source::Source;
use super::{ContainerError, PixelLimit, damaged};

const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'];
const MAX_CHUNK: u32 = 0x7fff_ffff;
const PALETTE_COLOUR: u8 = 3;

pub fn check<R: Read + Seek>(source: &mut Source<R>, limit: PixelLimit) -> Result<(u32, u32), ContainerError> {
    if source.bytes("its signature")? != SIGNATURE {
        return damaged("its PNG signature was changed, as by a text-mode transfer");
    }
    let header = Header::read(source)?;
    let dimensions = limit.check(header.width, header.height)?;
    walk(source, header.colour)?;
    Ok(dimensions)
}

struct Header {
    width: u32,
    height: u32,
    colour: u8,
}

impl Header {
    fn read<R: Read + Seek>(source: &mut Source<R>) -> Result<Self, ContainerError> {
        const WHAT: &str = "its header";
        let length = source.u32_be(WHAT)?;
        let kind: [u8; 4] = source.bytes(WHAT)?;
        if length != 13 || kind != *b"IHDR" {
            return damaged("its PNG header is missing");
        }
        let header: [u8; 13] = source.bytes(WHAT)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&kind);
        crc.update(&header);
        if source.u32_be(WHAT)? != crc.finalize() {
            return damaged("the checksum of its header does not match");
        }
        Self::parse(header)
    }

    fn parse(header: [u8; 13]) -> Result<Self, ContainerError> {
        let [w0, w1, w2, w3, h0, h1, h2, h3, depth, colour, compression, filter, interlace] = header;
        let (width, height) = (u32::from_be_bytes([w0, w1, w2, w3]), u32::from_be_bytes([h0, h1, h2, h3]));
        let depth_fits = match colour {
            0 => matches!(depth, 1 | 2 | 4 | 8 | 16),
            PALETTE_COLOUR => matches!(depth, 1 | 2 | 4 | 8),
            2 | 4 | 6 => matches!(depth, 8 | 16),
            _ => false,
        };
        if !depth_fits || compression != 0 || filter != 0 || interlace > 1 {
            return damaged("its header has an unknown colour type or method");
        }
        if width > MAX_CHUNK || height > MAX_CHUNK {
            return damaged("its width or height is beyond what PNG allows");
        }
        Ok(Self { width, height, colour })
    }
}

fn walk<R: Read + Seek>(source: &mut Source<R>, colour: u8) -> Result<(), ContainerError> {
    let mut data: u64 = 0;
    let mut palette = false;
    loop {
        let length = source.u32_be("the header of a chunk")?;
        let kind: [u8; 4] = source.bytes("the header of a chunk")?;
        if length > MAX_CHUNK || !kind.iter().all(u8::is_ascii_alphabetic) {
            return damaged("a chunk's header makes no sense");
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&kind);
        source.read_through(u64::from(length), "a chunk", |piece| crc.update(piece))?;
        if source.u32_be("the checksum of a chunk")? != crc.finalize() {
            return damaged("the checksum of a chunk does not match");
        }
        match &kind {
            b"IHDR" => return damaged("it has two headers"),
            b"PLTE" => palette = true,
            b"IDAT" if colour == PALETTE_COLOUR && !palette => {
                return damaged("its palette is missing");
            }
            b"IDAT" => data += u64::from(length),
            b"IEND" if data == 0 => return damaged("it has no picture data"),
            b"IEND" => return Ok(()),
            _ => {}
        }
    }
}
