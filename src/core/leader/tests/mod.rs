mod addresses;
mod restart;
mod scale;
mod update;
mod world;
