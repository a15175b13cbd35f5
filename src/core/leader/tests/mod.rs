mod addresses;
mod golden;
mod properties;
mod restart;
mod scale;
mod update;
mod waits;
mod world;
