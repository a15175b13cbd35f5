mod scale;
mod world;
