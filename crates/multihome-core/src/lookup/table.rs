use crate::model::Route;

#[derive(Debug, Default)]
pub(super) struct Table<'a> {
    routes: Vec<&'a Route>,
}

impl<'a> Table<'a> {
    pub(super) fn insert(&mut self, route: &'a Route) {
        self.routes.push(route);
    }
    pub(super) fn sort(&mut self) {}
}
