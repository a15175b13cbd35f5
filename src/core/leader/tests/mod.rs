mod addresses;
mod properties;
mod restart;
mod scale;
mod update;
mod world;
